-- Find where to read on in one partition, and recreate what is missing there.
--
-- KEYS[1] partition   hash: cursor, entries, epoch, lost, revision, revision:<n>
-- KEYS[2] events      stream of updates
-- ARGV[1] group       the consumer group kept in step with the cursor
-- ARGV[2] thorough    '1' to look at the stream's last ID in any case: it takes a copy of two entries
-- ARGV[3] revision    of the rules, by which the owner goes; the partition takes it up at the cursor
--
-- Returns the cursor, the epoch, how many unread entries somebody trimmed or deleted, then the name of
-- each thing that had to be created: 'stream', 'hash', 'group'; 'cursor' where the stream is another
-- one than before; 'ids' where it was recreated for its last ID left no room.
--
-- What was applied is not applied again, and nothing unread is passed over. So the group is ours, and
-- knows the cursor, only where it knows how many entries it read: one that somebody made to watch the
-- lag does not.

local partition, events, group_name, thorough = KEYS[1], KEYS[2], ARGV[1], ARGV[2] == '1'
local revision = tonumber(ARGV[3])

local MOST_AHEAD = 3600 * 1000  -- ms of a stream's last ID before the server's clock
local COUNTED_AT_ONCE = 100

local refused = other_than('hash', partition) or other_than('stream', events) or refused_by_acl({
  {'HSET', partition, '', ''},
  {'HGET', partition, ''},
  {'XGROUP', 'CREATE', events, group_name, 0},
  {'XGROUP', 'SETID', events, group_name, 0},
  {'XINFO', 'GROUPS', events},
  {'XINFO', 'STREAM', events},
  {'XRANGE', events, 0, 0},
  {'XSETID', events, 0},
  {'DEL', events},
})
if refused then return refused end

local created = {}
local lost = 0
local is_there = redis.call('EXISTS', events) == 1
local group = is_there and find_group(events, group_name)
local read = group and group['entries-read']
local cursor = redis.call('HGET', partition, 'cursor')
local epoch = whole(redis.call('HGET', partition, 'epoch'))
local held = whole(redis.call('HGET', partition, 'revision'))

if cursor and not cursor:match('^%d+%-%d+$') then
  return redis.error_reply('ERR ' .. partition .. ' holds the cursor ' .. cursor
    .. ', which is no entry ID: set it to the ID of the last entry applied')
end

-- What was folded by later rules must not be followed by what is folded by older ones.
if held > revision then
  return redis.error_reply('ERR ' .. partition .. ' goes by revision ' .. text_of(held) .. ' of the rules, and '
    .. 'this worker has none after ' .. ARGV[3] .. ': it waits until the meta key can be read, or is restored')
end

local function is_drained()
  return cursor == LAST_ID or #redis.call('XRANGE', events, '(' .. cursor, '+', 'COUNT', 1) == 0
end

-- How many of the stream's entries are read, where the cursor stands.
local function number_read(added)
  if cursor == '0-0' then return 0 end
  local unread, last = 0, cursor
  while last ~= LAST_ID do
    local some = redis.call('XRANGE', events, '(' .. last, '+', 'COUNT', COUNTED_AT_ONCE)
    unread = unread + #some
    if #some < COUNTED_AT_ONCE then break end
    last = some[#some][1]
  end
  return math.max(added - unread, 0)
end

-- What the hash is to hold, and nothing is written before it is known whether anything is.
local fields = {}
local function set_group(number)
  redis.call('XGROUP', 'SETID', events, group_name, cursor, 'ENTRIESREAD', text_of(number))
end

-- An empty stream, whose IDs go on after the cursor.
local function create_stream()
  redis.call('XGROUP', 'CREATE', events, group_name, '0-0', 'MKSTREAM', 'ENTRIESREAD', 0)
  if cursor ~= '0-0' then
    redis.call('XSETID', events, cursor)
    set_group(0)
  end
end

-- Forwards of an epoch are told apart by their IDs, which may be smaller in the next one.
local function begin_epoch(at)
  cursor, epoch = at, epoch + 1
  fields.cursor, fields.epoch = cursor, text_of(epoch)
  -- Revisions that were taken up later in the old stream hold from here on.
  for n = 1, held do
    local field = 'revision:' .. n
    local began = redis.call('HGET', partition, field)
    if began and began:match('^%d+%-%d+$') and id_before(cursor, began) then fields[field] = cursor end
  end
end

local function attached()
  if held < revision then
    fields.revision = text_of(revision)
    fields['revision:' .. fields.revision] = cursor
  end
  local flat = {}
  for field, value in pairs(fields) do
    flat[#flat + 1] = field
    flat[#flat + 1] = value
  end
  if #flat > 0 then redis.call('HSET', partition, unpack(flat)) end
  return {cursor, epoch, lost, unpack(created)}
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function leaves_no_room(id)
  return number_before(text_of(now + MOST_AHEAD), id:match('^%d+'))
end

if not cursor then
  cursor = read and group['last-delivered-id'] or '0-0'
  fields.cursor = cursor
  -- Without its cursor alone the hash still knows how many were read.
  fields.entries = redis.call('HGET', partition, 'entries') or text_of(whole(read or 0))
  created[#created + 1] = 'hash'
end

if not is_there then
  create_stream()
  created[#created + 1] = 'stream'
  return attached()
end

local in_step = read and group['last-delivered-id'] == cursor
thorough = thorough or leaves_no_room(cursor)
if in_step and not thorough and (group.lag == 0 or not is_drained()) then return attached() end

local stream = fields_of(redis.call('XINFO', 'STREAM', events))
local last, added = stream['last-generated-id'], math.min(stream['entries-added'], 2^62)

if id_before(last, cursor) then
  if read and id_before(last, group['last-delivered-id']) then
    return redis.error_reply('ERR ' .. events .. ' has the last ID ' .. last .. ', but ' .. cursor
      .. ' was read: somebody set it back; XSETID ' .. events .. ' ' .. cursor .. ' mends it')
  end
  -- With our group, it is an older one that came back; without, it is another one.
  begin_epoch(read and group['last-delivered-id'] or '0-0')
  created[#created + 1] = 'cursor'
end

if not group then
  local number = text_of(number_read(added))
  redis.call('XGROUP', 'CREATE', events, group_name, cursor, 'ENTRIESREAD', number)
  created[#created + 1] = 'group'
elseif not read or group['last-delivered-id'] ~= cursor then
  set_group(number_read(added))
elseif added ~= read and is_drained() then
  lost = math.max(added - read, 0)
  fields.lost = text_of(whole(redis.call('HGET', partition, 'lost')) + lost)
  set_group(added)
end

if leaves_no_room(last) and is_drained() then
  redis.call('DEL', events)
  begin_epoch(text_of(now) .. '-0')
  create_stream()
  created[#created + 1] = 'ids'
end

return attached()
