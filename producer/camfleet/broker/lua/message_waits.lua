-- Find out whether a part of a queue holds the message with an id.
-- KEYS: queue
-- ARGV: first and last position, id
-- Returns {messages read, 1 if it's among them}.
local messages = redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[2])
for _, message in ipairs(messages) do
  if message:find('"id": "' .. ARGV[3] .. '"', 1, true) then return {#messages, 1} end
end
return {#messages, 0}
