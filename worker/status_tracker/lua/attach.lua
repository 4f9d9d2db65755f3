-- Find where to read on in one partition, and recreate what is missing there.
--
-- KEYS[1] partition   hash: cursor, entries
-- KEYS[2] events      stream of updates
-- ARGV[1] group       the consumer group kept in step with the cursor
--
-- Returns the cursor, then the name of each thing that had to be created: 'stream', 'hash', 'group',
-- or 'cursor' where the stream had been replaced by another one and is read from its beginning.

local partition, events, group_name = KEYS[1], KEYS[2], ARGV[1]

-- IDs are two 64-bit numbers, more than a Lua number holds exactly, so they are compared as text.
local function number_before(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end

local function id_before(a, b)
  local a_ms, a_seq = a:match('^(%d+)-(%d+)$')
  local b_ms, b_seq = b:match('^(%d+)-(%d+)$')
  if a_ms ~= b_ms then return number_before(a_ms, b_ms) end
  return number_before(a_seq, b_seq)
end

local wrong = other_than('hash', partition) or other_than('stream', events)
if wrong then return wrong end

local created = {}

if redis.call('EXISTS', events) == 0 then
  redis.call('XGROUP', 'CREATE', events, group_name, '0-0', 'MKSTREAM', 'ENTRIESREAD', 0)
  created[#created + 1] = 'stream'
end

local stream = fields_of(redis.call('XINFO', 'STREAM', events))
local group = find_group(events, group_name)
local cursor = redis.call('HGET', partition, 'cursor')

if not cursor then
  -- A hash lost alone costs nothing: the group stands where the cursor stood. A group that somebody
  -- else created, to watch the lag, stands anywhere; it does not know how many entries were read.
  local ours = group and group['entries-read']
  cursor = ours and group['last-delivered-id'] or '0-0'
  redis.call('HSET', partition, 'cursor', cursor, 'entries', ours or 0)
  created[#created + 1] = 'hash'
end

if not cursor:match('^%d+%-%d+$') then
  return redis.error_reply('ERR ' .. partition .. ' holds the cursor ' .. cursor
    .. ', which is no entry ID: set it to the ID of the last entry applied')
end

if id_before(stream['last-generated-id'], cursor) then
  cursor = '0-0'
  redis.call('HSET', partition, 'cursor', cursor)
  created[#created + 1] = 'cursor'
end

if not group then
  -- -1: unknown; the server then estimates the lag itself (7.0).
  local entries_read = -1
  if cursor == stream['last-generated-id'] then entries_read = stream['entries-added'] end
  if cursor == '0-0' then entries_read = 0 end
  redis.call('XGROUP', 'CREATE', events, group_name, cursor, 'ENTRIESREAD', entries_read)
  created[#created + 1] = 'group'
elseif group['last-delivered-id'] ~= cursor then
  redis.call('XGROUP', 'SETID', events, group_name, cursor, 'ENTRIESREAD', cursor == '0-0' and 0 or -1)
end

return {cursor, unpack(created)}
