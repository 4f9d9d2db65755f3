-- Write everything that one batch does, or nothing at all; or the batches of several partitions.
--
-- KEYS[1] changes          stream: the change feed
-- KEYS[2] rejected         stream: entries that were not applied
-- then    for each of batch.partitions:
--           partition      hash: cursor, entries and what became of them
--           events         stream that its entries were read from
-- then    batch.counts     hashes: phase → how many
-- then    one status key for each of batch.documents
-- then    one sorted set for each of batch.phases
-- then    one sorted set for each of batch.marks
-- then    one list for each of batch.histories
-- then    one stream for each of batch.forwards
--
-- ARGV[1] group            the consumer group kept in step with the cursor
-- ARGV[2] batch            a msgpack map:
--   partitions             per partition: a map of
--     read_from            the cursor its entries were read from
--     cursor               the ID of the last one
--     revision             of the rules that they were folded by
--     totals               {field, number, …}: what is added to the fields of its hash; the first is how
--                          many entries there are
--   counts                 how many hashes of counts there are
--   documents              status documents, one for each status key
--   expected               what each status key must still hold; '' where there must be none
--   phases                 per sorted set: {entered = {score, id, …}, left = {id, …}, counts = which of
--                          the hashes has its size, phase = in which field}
--   marks                  per sorted set: ids that are not stalled any more
--   changes                documents for the change feed
--   removes                whether the status keys and the lists are deleted, each status as expected: there
--                          are no documents then, and the only change is in the field `removed`
--   histories              per list: which of the changes go there, from 1, the oldest first
--   history                how many changes a list keeps
--   rejected               per entry: a map of reason, detail, stream, id
--   forwards               per stream: where each update comes from, as <p>/<ID>
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
-- A script that fails half-way is not undone. So it reads first, and what is of another type refuses
-- to be read; then it asks whether the user may write; then come the two writes that may still fail,
-- histories and the first change, with what puts them back. After these nothing can fail: memory was
-- the server's matter before it began. In a small batch the calls are what costs: each counts, and
-- tests/integration/test_calls.py holds how many there are.

local changes, rejected = KEYS[1], KEYS[2]
local group_name = ARGV[1]
local batch = cmsgpack.unpack(ARGV[2])
local first_partition = 2  -- each index is one before the first
local first_counts = first_partition + 2 * #batch.partitions
local first_status = first_counts + batch.counts
local first_phase = first_status + #batch.expected
local first_mark = first_phase + #batch.phases
local first_history = first_mark + #batch.marks
local first_forward = first_history + #batch.histories
local first_raw = 2

local CHUNK = 3800  -- keys or pairs: unpack() fails over 8,000 values (LUAI_MAXCSTACK)

-- Which keys belong to a partition of the batch.
local function keys_of(i)
  return KEYS[first_partition + 2 * i - 1], KEYS[first_partition + 2 * i]
end

-- The reply to a command; or nil, and the error to return, which names the key or the permission.
local function try(wanted, key, ...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  return nil, other_than(wanted, key) or refused_by_acl({{...}}) or redis.error_reply(reply.err)
end

-- Of each partition what its hash holds of the fields that are to be written. Else what refuses the commit.
local function held_partitions()
  local held = {}
  for i, own in ipairs(batch.partitions) do
    local partition, events = keys_of(i)
    local fields = {'cursor', 'revision', 'rejected_dropped'}
    for j = 1, #own.totals, 2 do fields[#fields + 1] = own.totals[j] end
    local values, refused = try('hash', partition, 'HMGET', partition, unpack(fields))
    if refused then return nil, refused end
    if values[1] ~= own.read_from then return nil, {'moved', values[1] or ''} end
    if values[2] ~= own.revision then return nil, {'moved', ''} end
    held[i] = values
    -- A stream that went away may come back with its group where it stood: what was read of it must
    -- not be committed meanwhile, or it is read again.
    local groups = redis.pcall('XINFO', 'GROUPS', events)
    if groups.err then
      return nil, other_than('stream', events) or refused_by_acl({{'XINFO', 'GROUPS', events}}) or {'moved', ''}
    end
    local group = group_among(groups, group_name)
    own.read = group and group['entries-read']
    if not own.read or group['last-delivered-id'] ~= own.read_from then return nil, {'moved', ''} end
    -- A database that was flushed begins with the same cursor again, but without these entries.
    if own.read_from == '0-0' then
      local last, why = try('stream', events, 'XRANGE', events, own.cursor, own.cursor)
      if why then return nil, why end
      if #last == 0 then return nil, {'moved', own.read_from} end
    end
  end
  return held
end

-- What is in memory may be older than what somebody wrote, or deleted, by hand; and who was taken
-- for new may not be.
local function changed_status()
  local none = {}
  for i = 1, #batch.expected, CHUNK do
    local last = math.min(i + CHUNK - 1, #batch.expected)
    local found, refused = try('string', '', 'MGET', unpack(KEYS, first_status + i, first_status + last))
    if refused then return refused end
    for j = i, last do
      local expected = batch.expected[j]
      if (found[j - i + 1] or '') ~= expected then return {'changed', KEYS[first_status + j], expected} end
      if expected == '' then none[#none + 1] = KEYS[first_status + j] end
    end
  end
  -- MGET has no value for a key of another type either, but EXISTS counts it.
  for i = 1, #none, CHUNK do
    local last = math.min(i + CHUNK - 1, #none)
    local number, refused = try('string', '', 'EXISTS', unpack(none, i, last))
    if refused then return refused end
    if number > 0 then
      for j = i, last do
        if redis.call('EXISTS', none[j]) == 1 then return {'changed', none[j], ''} end
      end
    end
  end
end

-- The size of each phase's set, then of each set of marks; else what refuses the commit.
local function held_sizes()
  local sizes = {}
  for i = 1, #batch.phases + #batch.marks do
    local set, refused = KEYS[first_phase + i], nil
    sizes[i], refused = try('zset', set, 'ZCARD', set)
    if refused then return nil, refused end
  end
  return sizes
end

local function wrong_type()
  local wrong = #batch.rejected > 0 and other_than('stream', rejected)
  for i = 1, batch.counts do wrong = wrong or other_than('hash', KEYS[first_counts + i]) end
  for i = 1, #batch.forwards do wrong = wrong or other_than('stream', KEYS[first_forward + i]) end
  return wrong
end

local function full()
  if #batch.rejected > 0 and without_ids(rejected) then return no_ids_left(rejected) end
  for i = 1, #batch.forwards do
    local stream = KEYS[first_forward + i]
    if without_ids(stream) then return no_ids_left(stream, 'its owner recreates it once it is drained') end
  end
end

local function forbidden()
  local partition, events = keys_of(1)
  local commands = {
    {'XGROUP', 'SETID', events, group_name, 0},
    {'HSET', partition, '', ''},
  }
  local function needs(command) commands[#commands + 1] = command end
  local function needs_to_add(stream)
    needs({'XADD', stream, '*', '', ''})
    needs({'XTRIM', stream, 'MAXLEN', 0})
    needs({'XREVRANGE', stream, '+', '-'})
    needs({'XINFO', 'STREAM', stream})
  end
  if #batch.documents > 0 then needs({'MSET', KEYS[first_status + 1], ''}) end
  if #batch.phases > 0 then
    needs({'ZREM', KEYS[first_phase + 1], ''})
    needs({'ZADD', KEYS[first_phase + 1], 0, ''})
    needs({'HSET', KEYS[first_counts + 1], '', ''})
  end
  for i = 1, #batch.marks do needs({'ZREM', KEYS[first_mark + i], ''}) end
  if batch.removes then
    needs({'DEL', KEYS[first_status + 1], KEYS[first_history + 1]})
  elseif #batch.histories > 0 then
    needs({'LPUSH', KEYS[first_history + 1], ''})
    needs({'LTRIM', KEYS[first_history + 1], 0, 0})
  end
  if #batch.changes > 0 then needs({'XADD', changes, '*', '', ''}) end
  if #batch.rejected > 0 then needs_to_add(rejected) end
  for i = 1, #batch.forwards do needs_to_add(KEYS[first_forward + i]) end
  return refused_by_acl(commands)
end

-- What each list of changes gets, newest last. Each is known to be a list only when it took it.
local function write_histories()
  if batch.removes then return nil, {}, function() end end
  local function put_back(last)
    for i = 1, last do redis.call('LTRIM', KEYS[first_history + i], #batch.histories[i], -1) end
  end
  local lengths = {}
  for i = 1, #batch.histories do
    local list, documents, refused = KEYS[first_history + i], {}, nil
    for place, number in ipairs(batch.histories[i]) do documents[place] = batch.changes[number] end
    for j = 1, #documents, CHUNK do
      local last = math.min(j + CHUNK - 1, #documents)
      lengths[i], refused = try('list', list, 'LPUSH', list, unpack(documents, j, last))
      if refused then
        put_back(i - 1)
        return refused
      end
    end
  end
  return nil, lengths, put_back
end

local function trim_histories(lengths)
  for i = 1, #lengths do
    if lengths[i] > batch.history then redis.call('LTRIM', KEYS[first_history + i], 0, batch.history - 1) end
  end
end

-- Trimmed with the last one: a call less than by XTRIM.
local function add_change(i)
  local field = batch.removes and 'removed' or 'data'
  if i < #batch.changes then return redis.pcall('XADD', changes, '*', field, batch.changes[i]) end
  return redis.pcall('XADD', changes, 'MAXLEN', batch.max_changes, '*', field, batch.changes[i])
end

-- The first change tells whether the others can be added.
local function write_first_change()
  local id = add_change(1)
  if type(id) == 'string' then
    if not nearly_last(id) then return end
    redis.call('XDEL', changes, id)
  end
  return other_than('stream', changes) or no_ids_left(changes)
end

-- Statuses and histories stand behind each other in KEYS, but for the sets of phases.
local function delete(first, count)
  for i = 1, count, CHUNK do
    redis.call('DEL', unpack(KEYS, first + i, first + math.min(i + CHUNK - 1, count)))
  end
end

local function write_statuses()
  if batch.removes then
    delete(first_status, #batch.expected)
    delete(first_history, #batch.histories)
  end
  local pairs_of = {}
  for i = 1, #batch.documents do
    pairs_of[2 * i - 1] = KEYS[first_status + i]
    pairs_of[2 * i] = batch.documents[i]
  end
  for i = 1, #pairs_of, 2 * CHUNK do
    redis.call('MSET', unpack(pairs_of, i, math.min(i + 2 * CHUNK - 1, #pairs_of)))
  end
end

-- How many members were added or removed.
local function in_chunks(command, key, values)
  local number = 0
  for i = 1, #values, CHUNK do
    number = number + redis.call(command, key, unpack(values, i, math.min(i + CHUNK - 1, #values)))
  end
  return number
end

-- A count is the size of its set: so one that was lost, or written over, is right again.
local function write_phases(sizes)
  local counts = {}
  for i = 1, batch.counts do counts[i] = {} end
  for i = 1, #batch.phases do
    local set, moves = KEYS[first_phase + i], batch.phases[i]
    local size = sizes[i] - in_chunks('ZREM', set, moves.left) + in_chunks('ZADD', set, moves.entered)
    local of_kind = counts[moves.counts]
    of_kind[#of_kind + 1] = moves.phase
    of_kind[#of_kind + 1] = size
  end
  for i = 1, batch.counts do redis.call('HSET', KEYS[first_counts + i], unpack(counts[i])) end
end

local function clear_marks(sizes)
  for i = 1, #batch.marks do
    if sizes[#batch.phases + i] > 0 then in_chunks('ZREM', KEYS[first_mark + i], batch.marks[i]) end
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

local function write_partitions(held, dropped)
  for i, own in ipairs(batch.partitions) do
    local partition, events = keys_of(i)
    redis.call('XGROUP', 'SETID', events, group_name, own.cursor,
      'ENTRIESREAD', text_of(math.min(own.read + own.totals[2], 2^62)))
    local fields = {'cursor', own.cursor}
    for j = 1, #own.totals, 2 do
      fields[#fields + 1] = own.totals[j]
      fields[#fields + 1] = text_of(whole(held[i][3 + (j + 1) / 2]) + own.totals[j + 1])
    end
    -- The cap is one for all partitions that share it, so it does not matter which one notes it.
    if dropped > 0 and i == 1 then
      fields[#fields + 1] = 'rejected_dropped'
      fields[#fields + 1] = text_of(whole(held[i][3]) + dropped)
    end
    redis.call('HSET', partition, unpack(fields))
  end
end

local held, refused, sizes, lengths, put_back
held, refused = held_partitions()
refused = refused or changed_status()
if refused then return refused end
sizes, refused = held_sizes()
refused = refused or wrong_type() or forbidden() or full()
if refused then return refused end

refused, lengths, put_back = write_histories()
if refused then return refused end
refused = #batch.changes > 0 and write_first_change()
if refused then
  put_back(#batch.histories)
  return refused
end

for i = 2, #batch.changes do add_change(i) end
trim_histories(lengths)
write_statuses()
write_phases(sizes)
clear_marks(sizes)
local dropped = write_rejected()
write_forwards()
write_partitions(held, dropped)
return {'committed', dropped}
