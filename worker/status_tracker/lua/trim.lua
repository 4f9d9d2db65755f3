-- Take away entries of one partition's stream that were applied and are old; never an unread one.
--
-- KEYS[1] partition      hash: cursor
-- KEYS[2] events         stream of updates
-- ARGV[1] group          the consumer group kept in step with the cursor
-- ARGV[2] before         ms: entries that came before are old
-- ARGV[3] held           ms: what other groups have not read, or not acknowledged, is kept unless it came before
-- ARGV[4] most           entries that are taken away at once, about
--
-- Returns how many were taken away, which are all where they are fewer than half of the most; and the name of
-- a group that old entries are kept for, or ''.

local partition, events, group_name, before, held = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]

local refused = other_than('hash', partition) or other_than('stream', events) or refused_by_acl({
  {'XTRIM', events, 'MINID', 0},
  {'XPENDING', events, ''},
})
if refused then return refused end

local cursor = redis.call('HGET', partition, 'cursor')
local group = redis.call('EXISTS', events) == 1 and find_group(events, group_name)
-- Where something is missing, its owner mends that first.
if not group or not cursor or not cursor:match('^%d+%-%d+$') then return {0, ''} end

local function first_after(id)
  if id == LAST_ID then return nil end
  local entry = redis.call('XRANGE', events, '(' .. id, '+', 'COUNT', 1)[1]
  return entry and entry[1]
end

local function earlier(id, other)
  return other and id_before(other, id) and other or id
end

-- A stream that came back may end before the cursor: then its group tells what was read.
local first_unread = first_after(earlier(cursor, group['last-delivered-id']))
local first_kept = earlier(before .. '-0', first_unread)

local lagging = ''
for _, each in ipairs(redis.call('XINFO', 'GROUPS', events)) do
  local other = fields_of(each)
  if other.name ~= group_name then
    local unread = first_after(other['last-delivered-id'])
    if other.pending > 0 then
      local pending = redis.call('XPENDING', events, other.name)[2]
      unread = unread and earlier(unread, pending) or pending
    end
    if unread and id_before(unread, first_kept) then
      -- It is waited for, but not for ever.
      first_kept = earlier(first_kept, id_before(unread, held .. '-0') and held .. '-0' or unread)
      lagging = other.name
    end
  end
end

-- Whole nodes of the stream first, for these cost little. What is left of a node then is at most a hundred
-- entries, unless the server is told to make larger ones.
local trimmed = redis.call('XTRIM', events, 'MINID', '~', first_kept, 'LIMIT', ARGV[4])
if trimmed < ARGV[4] / 2 then trimmed = trimmed + redis.call('XTRIM', events, 'MINID', first_kept) end
return {trimmed, lagging}
