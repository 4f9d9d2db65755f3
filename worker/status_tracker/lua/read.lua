-- Read entries after a cursor without what is too large in them: it is not going to be used.
--
-- KEYS[1] events      stream of updates
-- ARGV[1] cursor      the ID after which is read
-- ARGV[2] count       how many entries at the most
-- ARGV[3] longest     bytes of a value that are kept
-- ARGV[4] size        bytes of entries, as they are in the stream, after which no more are read
-- ARGV[5] names       how many names of fields are kept of an entry that has none of the fields
-- then    fields      those that are used
--
-- Returns [[ID, [field, value, …]], …], as XREAD has it for one stream: of each entry the first of each
-- of the fields, or some names, with values that are empty.

local events, cursor = KEYS[1], ARGV[1]
local count, longest, left = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local names = tonumber(ARGV[5])
local is_used = {}
for i = 6, #ARGV do is_used[ARGV[i]] = true end

local wrong = other_than('stream', events)
if wrong then return wrong end

local function kept_of(fields)
  local kept, found = {}, {}
  for i = 1, #fields, 2 do
    local field = fields[i]
    if is_used[field] and not found[field] then
      found[field] = true
      kept[#kept + 1] = field
      kept[#kept + 1] = fields[i + 1]:sub(1, longest)
    end
  end
  if #kept > 0 then return kept end
  for i = 1, math.min(#fields, 2 * names), 2 do
    kept[i], kept[i + 1] = fields[i]:sub(1, longest), ''
  end
  return kept
end

local entries = {}
-- One by one: together, a few of them could be more than the server's memory.
while #entries < count and left > 0 do
  local entry = redis.call('XRANGE', events, '(' .. cursor, '+', 'COUNT', 1)[1]
  if not entry then break end
  cursor = entry[1]
  for _, text in ipairs(entry[2]) do left = left - #text end
  entries[#entries + 1] = {cursor, kept_of(entry[2])}
end
return entries
