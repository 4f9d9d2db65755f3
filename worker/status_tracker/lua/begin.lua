-- Let a partition begin that is filled: with a stream whose IDs come after all that it was filled with.
--
-- KEYS[1] partition    hash: importing, imported; then cursor, entries, revision, revision:<n>
-- KEYS[2] events       stream of updates
-- ARGV[1] importing    the name of this run of the import
-- ARGV[2] group        the consumer group kept in step with the cursor
-- ARGV[3] cursor       after which the IDs of the stream begin
-- ARGV[4] revision     of the rules in force
--
-- Returns 1; 0 where another run has the partition, and then nothing was written.

local partition, events, importing = KEYS[1], KEYS[2], ARGV[1]
local group_name, cursor, revision = ARGV[2], ARGV[3], ARGV[4]

local refused = other_than('hash', partition) or other_than('stream', events) or refused_by_acl({
  {'HGET', partition, ''},
  {'HSET', partition, '', ''},
  {'HDEL', partition, ''},
  {'EXISTS', events},
  {'XGROUP', 'CREATE', events, group_name, 0},
  {'XGROUP', 'SETID', events, group_name, 0},
  {'XSETID', events, 0},
})
if refused then return refused end
if redis.call('HGET', partition, 'importing') ~= importing then return 0 end

-- A producer may have been here already: then the stream's first owner finds where to begin.
if redis.call('EXISTS', events) == 0 then
  redis.call('XGROUP', 'CREATE', events, group_name, '0-0', 'MKSTREAM', 'ENTRIESREAD', 0)
  if cursor ~= '0-0' then
    redis.call('XSETID', events, cursor)
    redis.call('XGROUP', 'SETID', events, group_name, cursor, 'ENTRIESREAD', 0)
  end
end
redis.call('HSET', partition, 'cursor', cursor, 'entries', 0, 'revision', revision, 'revision:' .. revision, cursor)
redis.call('HDEL', partition, 'importing', 'imported')
return 1
