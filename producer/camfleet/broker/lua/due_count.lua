-- Count an attempt at what is due, or take one back.
-- KEYS: hash
-- ARGV: field of the attempts, 1 or -1
-- Returns how many there were, this one too; 0 where there is no such hash.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
return redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[2])
