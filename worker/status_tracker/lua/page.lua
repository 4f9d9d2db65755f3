-- Read a page of a sorted set: who stands behind a place, whether or not anybody is there any more.
--
-- KEYS[1] set
-- ARGV[1] score    the place; -inf is before all
-- ARGV[2] member   of the place; '' is before all of that score
-- ARGV[3] count    members at most
--
-- Returns {member, score, …}.
--
-- A rank that is remembered would not do: who leaves the set moves all behind to another one.

local set, score, member, count = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])

-- As the server sorts those of one score: by bytes. `<` goes by the server's locale.
local function is_behind(other)
  for i = 1, math.min(#other, #member) do
    local a, b = other:byte(i), member:byte(i)
    if a ~= b then return a > b end
  end
  return #other > #member
end

local first = 0
if score ~= '-inf' then
  first = redis.call('ZCOUNT', set, '-inf', '(' .. score)
  local behind = member == '' and first or redis.call('ZCOUNT', set, '-inf', score)
  while first < behind do
    local middle = math.floor((first + behind) / 2)
    if is_behind(redis.call('ZRANGE', set, middle, middle)[1]) then
      behind = middle
    else
      first = middle + 1
    end
  end
end
return redis.call('ZRANGE', set, first, first + count - 1, 'WITHSCORES')
