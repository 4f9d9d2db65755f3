-- Say what stands first in some lists.
--
-- KEYS   lists
--
-- Returns of each its first element; nil where there is none, [its type] where the key is no list.

local answer = {}
for i, key in ipairs(KEYS) do
  local found = redis.pcall('LINDEX', key, 0)
  if type(found) == 'table' and found.err then
    if not found.err:find('^WRONGTYPE') then return found end
    found = {redis.call('TYPE', key).ok}
  end
  answer[i] = found
end
return answer
