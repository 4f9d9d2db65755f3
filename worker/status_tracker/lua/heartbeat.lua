-- Note that a worker lives, drop those that were not heard of for too long, and say who is left.
--
-- KEYS[1] workers   sorted set: a worker's name, scored by its last heartbeat (ms, our own clock)
-- ARGV[1] name      of the worker
-- ARGV[2] within    ms after which a worker that is not heard of is gone
--
-- Returns 1 where the name was not there, else 0; then the list of all live workers, this one too.

local workers, name, within = KEYS[1], ARGV[1], tonumber(ARGV[2])

local refused = other_than('zset', workers) or refused_by_acl({
  {'ZREMRANGEBYSCORE', workers, 0, 0},
  {'ZRANGEBYSCORE', workers, 0, 0},
  {'ZADD', workers, 0, ''},
  {'ZRANGE', workers, 0, 0},
})
if refused then return refused end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', workers, '-inf', string.format('(%.0f', now - within))
-- A heartbeat of the future is from before the clock was set back, or of a master whose clock was
-- ahead: it begins to age now.
for _, early in ipairs(redis.call('ZRANGEBYSCORE', workers, string.format('(%.0f', now), '+inf')) do
  redis.call('ZADD', workers, string.format('%.0f', now), early)
end
local added = redis.call('ZADD', workers, string.format('%.0f', now), name)
return {added, redis.call('ZRANGE', workers, 0, -1)}
