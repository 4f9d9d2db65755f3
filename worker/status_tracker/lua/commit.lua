-- Write everything that one batch does, or nothing at all.
--
-- KEYS[1] partition        hash: cursor, entries and what became of them
-- KEYS[2] events           stream that the batch was read from
-- KEYS[3] changes          stream: the change feed
-- KEYS[4] rejected         stream: entries that were not applied
-- then    batch.counts     hashes: phase → how many
-- then    one status key for each of batch.documents
-- then    one sorted set for each of batch.phases
-- then    one list for each of batch.histories
-- then    one stream for each of batch.forwards
--
-- ARGV[1] group            the consumer group kept in step with the cursor
-- ARGV[2] batch            a msgpack map:
--   read_from              the cursor the batch was read from
--   cursor                 the ID of its last entry
--   revision               of the rules that it was folded by
--   counts                 how many hashes of counts there are
--   documents              status documents, one for each status key
--   expected               what each status key must still hold; '' where there must be none
--   phases                 per sorted set: {entered = {score, id, …}, left = {id, …}, counts = which of
--                          the hashes has its size, phase = in which field}
--   changes                documents for the change feed
--   histories              per list: which of the changes go there, from 1, the oldest first
--   history                how many changes a list keeps
--   rejected               per entry: a map of reason, detail, stream, id
--   forwards               per stream: where each update comes from, as <p>/<ID>
--   totals                 {field, number, …}: what is added to the fields of the partition's hash
--   max_changes            cap of the change feed, in entries
--   max_rejected           cap of the rejected entries
--
-- then    the bytes of each rejected entry, then those of each forwarded update
--
-- Returns {'committed', how many rejected entries the cap dropped}
-- or      {'moved', the actual cursor} where that is not read_from; '' where there is none, where the
--         stream or its group is missing or elsewhere, or where the partition goes by another revision of
--         the rules: who was here must attach again
-- or      {'changed', status key, what is expected of it} where it does not hold that.
--
-- A script that fails half-way is not undone, so whatever can fail is tried before the first write:
-- the types of the keys, the user's permissions and room for IDs here, and memory by the server.

local partition, events, changes, rejected = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local group_name = ARGV[1]
local batch = cmsgpack.unpack(ARGV[2])
local first_counts = 4  -- each index is one before the first
local first_status = first_counts + batch.counts
local first_phase = first_status + #batch.documents
local first_history = first_phase + #batch.phases
local first_forward = first_history + #batch.histories
local first_raw = 2

-- unpack() fails over 8,000 values (LUAI_MAXCSTACK), and some services take no more than 3,999
-- arguments; an even number keeps pairs together.
local CHUNK = 3800

local function wrong_type()
  local wrong = other_than('hash', partition) or other_than('stream', events)
    or other_than('stream', changes) or other_than('stream', rejected)
  for i = 1, batch.counts do wrong = wrong or other_than('hash', KEYS[first_counts + i]) end
  for i = 1, #batch.phases do wrong = wrong or other_than('zset', KEYS[first_phase + i]) end
  for i = 1, #batch.histories do wrong = wrong or other_than('list', KEYS[first_history + i]) end
  for i = 1, #batch.forwards do wrong = wrong or other_than('stream', KEYS[first_forward + i]) end
  return wrong
end

local function forbidden()
  local commands = {
    {'HSET', partition, '', ''},
    {'HGET', partition, ''},
    {'XGROUP', 'SETID', events, group_name, 0},
    {'XINFO', 'GROUPS', events},
    {'EXISTS', events},
  }
  local function needs(command) commands[#commands + 1] = command end
  local function needs_to_add(stream)
    needs({'XADD', stream, '*', '', ''})
    needs({'XTRIM', stream, 'MAXLEN', 0})
    needs({'XREVRANGE', stream, '+', '-'})
    needs({'XINFO', 'STREAM', stream})
  end
  if #batch.documents > 0 then
    needs({'MGET', KEYS[first_status + 1]})
    needs({'MSET', KEYS[first_status + 1], ''})
  end
  if #batch.phases > 0 then
    needs({'ZREM', KEYS[first_phase + 1], ''})
    needs({'ZADD', KEYS[first_phase + 1], 0, ''})
    needs({'ZCARD', KEYS[first_phase + 1]})
    needs({'HSET', KEYS[first_counts + 1], '', ''})
  end
  if #batch.histories > 0 then
    needs({'LPUSH', KEYS[first_history + 1], ''})
    needs({'LTRIM', KEYS[first_history + 1], 0, 0})
  end
  if #batch.changes > 0 then needs_to_add(changes) end
  if #batch.rejected > 0 then needs_to_add(rejected) end
  for i = 1, #batch.forwards do needs_to_add(KEYS[first_forward + i]) end
  return refused_by_acl(commands)
end

local function full()
  local stream = #batch.changes > 0 and without_ids(changes) and changes
    or #batch.rejected > 0 and without_ids(rejected) and rejected
  if stream then
    return redis.error_reply('ERR ' .. stream .. ' has no IDs left: delete the stream, or XSETID it back')
  end
  for i = 1, #batch.forwards do
    if without_ids(KEYS[first_forward + i]) then
      return redis.error_reply('ERR ' .. KEYS[first_forward + i]
        .. ' has no IDs left: its owner recreates it once it is drained')
    end
  end
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
  local reply
  for i = 1, #values, CHUNK do
    reply = redis.call(command, key, unpack(values, i, math.min(i + CHUNK - 1, #values)))
  end
  return reply
end

-- A count is the size of its set: so one that was lost, or written over, is right again.
local function write_phases()
  for i = 1, #batch.phases do
    local set, moves = KEYS[first_phase + i], batch.phases[i]
    in_chunks('ZREM', set, moves.left)
    in_chunks('ZADD', set, moves.entered)
    redis.call('HSET', KEYS[first_counts + moves.counts], moves.phase, redis.call('ZCARD', set))
  end
end

local function write_changes()
  for i = 1, #batch.changes do redis.call('XADD', changes, '*', 'data', batch.changes[i]) end
  if #batch.changes > 0 then redis.call('XTRIM', changes, 'MAXLEN', batch.max_changes) end
end

local function write_histories()
  for i = 1, #batch.histories do
    local list, documents = KEYS[first_history + i], {}
    for place, number in ipairs(batch.histories[i]) do documents[place] = batch.changes[number] end
    local length = in_chunks('LPUSH', list, documents)
    if length > batch.history then redis.call('LTRIM', list, 0, batch.history - 1) end
  end
end

local function write_rejected()
  if #batch.rejected == 0 then return 0 end
  for i = 1, #batch.rejected do
    local entry = batch.rejected[i]
    redis.call('XADD', rejected, '*', 'reason', entry.reason, 'detail', entry.detail,
      'data', ARGV[first_raw + i], 'stream', entry.stream, 'id', entry.id)
  end
  return redis.call('XTRIM', rejected, 'MAXLEN', batch.max_rejected)
end

local function write_forwards()
  local raw = first_raw + #batch.rejected
  for i = 1, #batch.forwards do
    for _, from in ipairs(batch.forwards[i]) do
      raw = raw + 1
      redis.call('XADD', KEYS[first_forward + i], '*', 'data', ARGV[raw], 'from', from)
    end
  end
end

local function write_partition(dropped)
  local fields = {'cursor', batch.cursor}
  local function add(field, number)
    fields[#fields + 1] = field
    fields[#fields + 1] = text_of(whole(redis.call('HGET', partition, field)) + number)
  end
  for i = 1, #batch.totals, 2 do add(batch.totals[i], batch.totals[i + 1]) end
  if dropped > 0 then add('rejected_dropped', dropped) end
  redis.call('HSET', partition, unpack(fields))
end

local refused = wrong_type() or forbidden() or full()
if refused then return refused end

local cursor = redis.call('HGET', partition, 'cursor')
if cursor ~= batch.read_from then return {'moved', cursor or ''} end
if redis.call('HGET', partition, 'revision') ~= batch.revision then return {'moved', ''} end
-- A stream that went away may come back with its group where it stood: what was read of it must not be
-- committed meanwhile, or it is read again.
local group = redis.call('EXISTS', events) == 1 and find_group(events, group_name)
local read = group and group['entries-read']
if not read or group['last-delivered-id'] ~= cursor then return {'moved', ''} end
-- A database that was flushed begins with the same cursor again, but without these entries.
if cursor == '0-0' and #redis.call('XRANGE', events, batch.cursor, batch.cursor) == 0 then
  return {'moved', cursor}
end

local changed, expected = changed_status()
if changed then return {'changed', changed, expected} end

redis.call('XGROUP', 'SETID', events, group_name, batch.cursor,
  'ENTRIESREAD', text_of(math.min(read + batch.totals[2], 2^62)))
write_statuses()
write_phases()
write_changes()
write_histories()
local dropped = write_rejected()
write_forwards()
write_partition(dropped)
return {'committed', dropped}
