-- Mark entities of one partition as stalled, or add updates that end them; or nothing at all.
--
-- KEYS[1] partition   hash: cursor
-- KEYS[2] events      stream of updates
-- KEYS[3] lease       string: the owner's name
-- then    one sorted set for each of batch.marks
--
-- ARGV[1] owner       who marks; '' where there are no leases
-- ARGV[2] cursor      of the last entry whose commit the owner knows
-- ARGV[3] deadline    ms: when the last one of their limits passed
-- ARGV[4] batch       a msgpack map:
--   marks             per sorted set: {score, id, …}
--   updates           documents that are added to the stream
--
-- Returns 1; or 0, with nothing written, where somebody else owns the partition, or an entry that came in
-- time was not applied yet: the update that was waited for may be among those.

local partition, events, lease = KEYS[1], KEYS[2], KEYS[3]
local batch = cmsgpack.unpack(ARGV[4])
local CHUNK = 3800

local refused = other_than('hash', partition) or other_than('stream', events) or other_than('string', lease)
local commands = {}
for i = 1, #batch.marks do
  refused = refused or other_than('zset', KEYS[3 + i])
  commands[#commands + 1] = {'ZADD', KEYS[3 + i], 0, ''}
end
if #batch.updates > 0 then commands[#commands + 1] = {'XADD', events, '*', 'data', ''} end
refused = refused or refused_by_acl(commands)
if refused then return refused end

if (redis.call('GET', lease) or '') ~= ARGV[1] or redis.call('HGET', partition, 'cursor') ~= ARGV[2] then return 0 end
if redis.call('EXISTS', events) == 0 or without_ids(events) then return 0 end
local unread = redis.call('XRANGE', events, '(' .. ARGV[2], '+', 'COUNT', 1)[1]
if unread and not number_before(ARGV[3], unread[1]:match('^%d+')) then return 0 end

for _, update in ipairs(batch.updates) do redis.call('XADD', events, '*', 'data', update) end
for i, members in ipairs(batch.marks) do
  for j = 1, #members, CHUNK do
    redis.call('ZADD', KEYS[3 + i], unpack(members, j, math.min(j + CHUNK - 1, #members)))
  end
end
return 1
