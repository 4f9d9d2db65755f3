-- Say what the keys of an entity hold, in one step.
--
-- KEYS[1] status    string
-- KEYS[2] history   list: the newest change first
-- KEYS[3] stalled   sorted set of marks
-- then    sorted sets of the ids in some phases
-- ARGV[1] id
--
-- Returns [status, newest change, score of the mark, score in each set]; in the place of what a key of
-- another type does not have, [that type].

local status, history, stalled, id = KEYS[1], KEYS[2], KEYS[3], ARGV[1]

local function held(wanted, key, command, ...)
  local found = redis.call('TYPE', key).ok
  if found == wanted then return redis.call(command, key, ...) end
  return found ~= 'none' and {found}
end

local answer = {
  held('string', status, 'GET'),
  held('list', history, 'LINDEX', 0),
  held('zset', stalled, 'ZSCORE', id),
}
for i = 4, #KEYS do answer[i] = held('zset', KEYS[i], 'ZSCORE', id) end
return answer
