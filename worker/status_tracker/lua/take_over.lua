-- Have a worker of the first release, which may read a partition, look at what everyone agrees on.
--
-- KEYS[1] partition   hash: cursor, revision
-- KEYS[2] events      stream of updates
-- ARGV[1] group       the consumer group kept in step with the cursor
--
-- Returns 1 where the partition goes by a revision of the rules, so that no such worker reads it, else 0.
--
-- Such a worker compares the cursor before it writes, and checks the deployment where that is another one
-- or missing: then it finds the new version, and ends. So the cursor goes, and the group has it until the
-- next owner comes. Where it had begun to check before the version was written, it writes the cursor
-- again, and goes on; so this is to be called again until a newer worker has the partition.

local partition, events, group_name = KEYS[1], KEYS[2], ARGV[1]

local refused = other_than('hash', partition) or other_than('stream', events) or refused_by_acl({
  {'HMGET', partition, ''},
  {'HDEL', partition, ''},
  {'EXISTS', events},
  {'XINFO', 'GROUPS', events},
  {'XGROUP', 'CREATE', events, group_name, 0},
  {'XGROUP', 'SETID', events, group_name, 0},
})
if refused then return refused end

local cursor, entries, revision = unpack(redis.call('HMGET', partition, 'cursor', 'entries', 'revision'))
if revision then return 1 end
if not cursor or not cursor:match('^%d+%-%d+$') or redis.call('EXISTS', events) == 0 then return 0 end

-- Only a group that knows how many entries it read is ours, and takes the cursor's place.
local group = find_group(events, group_name)
local read = group and group['entries-read'] or whole(entries)
if not group then redis.call('XGROUP', 'CREATE', events, group_name, cursor) end
redis.call('XGROUP', 'SETID', events, group_name, cursor, 'ENTRIESREAD', text_of(math.min(read, 2^62)))
redis.call('HDEL', partition, 'cursor')
return 0
