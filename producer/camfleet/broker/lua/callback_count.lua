-- Count an attempt to deliver a callback that failed.
-- KEYS: job hash
-- ARGV: field of the attempts for this end of the job
-- Returns how many have failed, this one too; 0 where there is no such job.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
return redis.call('HINCRBY', KEYS[1], ARGV[1], 1)
