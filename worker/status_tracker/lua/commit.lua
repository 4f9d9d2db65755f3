-- Write everything that one batch does, or nothing at all.
--
-- KEYS[1] partition        hash: cursor, entries, and rejected_dropped once the cap dropped some
-- KEYS[2] events           stream that the batch was read from
-- KEYS[3] changes          stream: the change feed
-- KEYS[4] rejected         stream: entries that were not applied
-- KEYS[5] counts:task      hash: phase → how many
-- KEYS[6] counts:asset     hash: phase → how many
-- then    one status key for each of batch.documents
-- then    one sorted set for each of batch.phases
-- then    one stream for each of batch.forwards
--
-- ARGV[1] group            the consumer group kept in step with the cursor
-- ARGV[2] batch            a msgpack map:
--   read_from              the cursor the batch was read from
--   cursor                 the ID of its last entry
--   entries                how many entries it has
--   documents              status documents, one for each status key
--   expected               what each status key must still hold; '' where there must be none
--   phases                 per sorted set: {entered = {score, id, …}, left = {id, …}}
--   counts                 per hash of counts: {phase, difference, …}
--   changes                documents for the change feed
--   rejected               per entry: a map of reason, detail, stream, id
--   forwards               per stream: how many updates belong there
--   max_changes            cap of the change feed, in entries
--   max_rejected           cap of the rejected entries
--
-- then    the bytes of each rejected entry, then those of each forwarded update
--
-- Returns {'committed', how many rejected entries the cap dropped}
-- or      {'moved', the actual cursor} where that is not read_from; '' where there is none
-- or      {'changed', status key, what is expected of it} where it does not hold that.
--
-- A script that fails half-way is not undone, so whatever can fail is tried before the first write:
-- the types of the keys, the user's permissions and room for IDs here, and memory by the server.

local partition, events, changes, rejected = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local counts = {KEYS[5], KEYS[6]}
local group_name = ARGV[1]
local batch = cmsgpack.unpack(ARGV[2])
local first_status = 6  -- each index is one before the first
local first_phase = first_status + #batch.documents
local first_forward = first_phase + #batch.phases
local first_raw = 2

-- unpack() fails over 8,000 values (LUAI_MAXCSTACK); an even number keeps pairs together.
local CHUNK = 4000

local function wrong_type()
  local wrong = other_than('hash', partition) or other_than('stream', events)
    or other_than('stream', changes) or other_than('stream', rejected)
    or other_than('hash', counts[1]) or other_than('hash', counts[2])
  for i = 1, #batch.phases do wrong = wrong or other_than('zset', KEYS[first_phase + i]) end
  for i = 1, #batch.forwards do wrong = wrong or other_than('stream', KEYS[first_forward + i]) end
  return wrong
end

local function refused_by_acl()
  local commands = {
    {'HSET', partition, '', ''},
    {'XGROUP', 'SETID', events, group_name, 0},
    {'XGROUP', 'CREATE', events, group_name, 0},
    {'XINFO', 'GROUPS', events},
    {'XINFO', 'STREAM', events},
  }
  local function needs(command) commands[#commands + 1] = command end
  local function needs_to_add(stream)
    needs({'XADD', stream, '*', '', ''})
    needs({'XTRIM', stream, 'MAXLEN', 0})
  end
  if #batch.documents > 0 then needs({'MSET', KEYS[first_status + 1], ''}) end
  if #batch.phases > 0 then
    needs({'ZREM', KEYS[first_phase + 1], ''})
    needs({'ZADD', KEYS[first_phase + 1], 0, ''})
    needs({'HSET', counts[1], '', ''})
    needs({'HSET', counts[2], '', ''})
  end
  if #batch.changes > 0 then needs_to_add(changes) end
  if #batch.rejected > 0 then needs_to_add(rejected) end
  for i = 1, #batch.forwards do needs({'XADD', KEYS[first_forward + i], '*', '', ''}) end
  for _, command in ipairs(commands) do
    if not redis.acl_check_cmd(unpack(command)) then
      return redis.error_reply('NOPERM the user needs permission for ' .. command[1]:lower()
        .. ' on the keys of the prefix')
    end
  end
end

-- XADD fails on a stream whose last ID is the last there is, which any producer can make it.
local function without_ids()
  local function exhausted(key)
    if redis.call('EXISTS', key) == 0 then return nil end
    local last = fields_of(redis.call('XINFO', 'STREAM', key))['last-generated-id']
    if last:find('^18446744073709551615%-') then
      return redis.error_reply('ERR ' .. key .. ' has no IDs left after ' .. last
        .. ': delete the stream, or XSETID it back')
    end
  end
  local found = #batch.changes > 0 and exhausted(changes) or #batch.rejected > 0 and exhausted(rejected)
  for i = 1, #batch.forwards do found = found or exhausted(KEYS[first_forward + i]) end
  return found
end

-- What is in memory may be older than what somebody wrote, or deleted, by hand; and who was taken
-- for new may not be.
local function changed_status()
  local none = {}
  for i = 1, #batch.documents, CHUNK do
    local last = math.min(i + CHUNK - 1, #batch.documents)
    local found = redis.call('MGET', unpack(KEYS, first_status + i, first_status + last))
    for j = i, last do
      local expected = batch.expected[j]
      if (found[j - i + 1] or '') ~= expected then return KEYS[first_status + j], expected end
      if expected == '' then none[#none + 1] = KEYS[first_status + j] end
    end
  end
  -- MGET has no value for a key of another type either, but EXISTS counts it.
  for i = 1, #none, CHUNK do
    local last = math.min(i + CHUNK - 1, #none)
    if redis.call('EXISTS', unpack(none, i, last)) > 0 then
      for j = i, last do
        if redis.call('EXISTS', none[j]) == 1 then return none[j], '' end
      end
    end
  end
end

local function write_statuses()
  local pairs_of = {}
  for i = 1, #batch.documents do
    pairs_of[2 * i - 1] = KEYS[first_status + i]
    pairs_of[2 * i] = batch.documents[i]
  end
  for i = 1, #pairs_of, CHUNK do
    redis.call('MSET', unpack(pairs_of, i, math.min(i + CHUNK - 1, #pairs_of)))
  end
end

local function in_chunks(command, key, values)
  for i = 1, #values, CHUNK do
    redis.call(command, key, unpack(values, i, math.min(i + CHUNK - 1, #values)))
  end
end

local function write_phases()
  for i = 1, #batch.phases do
    in_chunks('ZREM', KEYS[first_phase + i], batch.phases[i].left)
    in_chunks('ZADD', KEYS[first_phase + i], batch.phases[i].entered)
  end
end

-- HINCRBY would fail on a field that holds no number; this mends it.
local function add(key, field, difference)
  local count = tonumber(redis.call('HGET', key, field) or 0) or 0
  redis.call('HSET', key, field, string.format('%.0f', count + difference))
end

local function write_counts()
  for i = 1, #counts do
    local differences = batch.counts[i]
    for j = 1, #differences, 2 do add(counts[i], differences[j], differences[j + 1]) end
  end
end

local function write_changes()
  for i = 1, #batch.changes do redis.call('XADD', changes, '*', 'data', batch.changes[i]) end
  if #batch.changes > 0 then redis.call('XTRIM', changes, 'MAXLEN', batch.max_changes) end
end

local function write_rejected()
  if #batch.rejected == 0 then return 0 end
  for i = 1, #batch.rejected do
    local entry = batch.rejected[i]
    redis.call('XADD', rejected, '*', 'reason', entry.reason, 'detail', entry.detail,
      'data', ARGV[first_raw + i], 'stream', entry.stream, 'id', entry.id)
  end
  local dropped = redis.call('XTRIM', rejected, 'MAXLEN', batch.max_rejected)
  if dropped > 0 then add(partition, 'rejected_dropped', dropped) end
  return dropped
end

local function write_forwards()
  local raw = first_raw + #batch.rejected
  for i = 1, #batch.forwards do
    for _ = 1, batch.forwards[i] do
      raw = raw + 1
      redis.call('XADD', KEYS[first_forward + i], '*', 'data', ARGV[raw])
    end
  end
end

local function move_group()
  local group = redis.call('EXISTS', events) == 1 and find_group(events, group_name)
  if not group then
    -- It, or the whole stream, went missing since the batch was read.
    redis.call('XGROUP', 'CREATE', events, group_name, batch.cursor, 'MKSTREAM', 'ENTRIESREAD', -1)
    return
  end
  local stream = fields_of(redis.call('XINFO', 'STREAM', events))
  local entries_read = -1
  if stream['last-generated-id'] == batch.cursor then
    -- Drained: a lag of 0, also where entries were deleted unread.
    entries_read = stream['entries-added']
  elseif group['entries-read'] then
    entries_read = group['entries-read'] + batch.entries
  end
  redis.call('XGROUP', 'SETID', events, group_name, batch.cursor, 'ENTRIESREAD', entries_read)
end

local refused = wrong_type() or refused_by_acl() or without_ids()
if refused then return refused end

local cursor = redis.call('HGET', partition, 'cursor')
if cursor ~= batch.read_from then return {'moved', cursor or ''} end
-- A database that was flushed begins with the same cursor again, but without these entries.
if cursor == '0-0' and #redis.call('XRANGE', events, batch.cursor, batch.cursor) == 0 then
  return {'moved', cursor}
end

local changed, expected = changed_status()
if changed then return {'changed', changed, expected} end

write_statuses()
write_phases()
write_counts()
write_changes()
local dropped = write_rejected()
write_forwards()
redis.call('HSET', partition, 'cursor', batch.cursor)
add(partition, 'entries', batch.entries)
move_group()
return {'committed', dropped}
