-- Say which partitions may not be as their owner left them; nothing is mended here, and nothing written.
--
-- KEYS              of each partition its hash and its stream
-- ARGV[1] group     the consumer group kept in step with the cursor
-- ARGV[2] thorough  the place of the partition, from 1, whose stream's last ID is looked at, too: that
--                   takes a copy of two entries
-- then              of each partition the cursor, and the revision of the rules that it goes by
--
-- Returns the places, from 1, of those that attach.lua is to look at.

local group_name, thorough = ARGV[1], tonumber(ARGV[2])

local function is_drained(events, cursor)
  return #redis.call('XRANGE', events, '(' .. cursor, '+', 'COUNT', 1) == 0
end

-- What cannot be read is not as it was either: attach.lua says what is wrong with it.
local function as_it_was(i)
  local partition, events = KEYS[2 * i - 1], KEYS[2 * i]
  local cursor, revision = ARGV[2 * i + 1], ARGV[2 * i + 2]
  local held = redis.pcall('HMGET', partition, 'cursor', 'revision')
  if held.err or held[1] ~= cursor or held[2] ~= revision then return false end
  local groups = redis.pcall('XINFO', 'GROUPS', events)
  local group = not groups.err and group_among(groups, group_name)
  if not group or not group['entries-read'] or group['last-delivered-id'] ~= cursor then return false end
  if group.lag ~= 0 and is_drained(events, cursor) then return false end
  if i ~= thorough then return true end
  local stream = fields_of(redis.call('XINFO', 'STREAM', events))
  return stream['last-generated-id'] == cursor or not is_drained(events, cursor)
end

local odd = {}
for i = 1, #KEYS / 2 do
  if not as_it_was(i) then odd[#odd + 1] = i end
end
return odd
