-- Make entities of one kind, in one partition, what they are to be, where nobody changed them meanwhile.
--
-- KEYS[1] counts      hash: phase → how many
-- then    one sorted set for each of batch.phases
-- then    of each entity its status key and its list of changes
--
-- ARGV[1] batch       a msgpack map:
--   phases            the phases of the kind
--   entities          per entity: {id, score in each phase or '', how many changes}
-- then    of each entity the status that was found, the one that is to be ('' for none), and the changes,
--         the newest first
--
-- Returns which entities were left as they are, from 1, for their status is not the one that was found.
--
-- An entity changes only together with its status. A worker that has the old one in memory is told so by its
-- next commit, and loads it.

local counts = KEYS[1]
local batch = cmsgpack.unpack(ARGV[1])
local first_set = 1  -- each index is one before the first
local first_key = first_set + #batch.phases

local CHUNK = 3800  -- values: unpack() fails over 8,000 (LUAI_MAXCSTACK)

local function refused()
  local wrong = other_than('hash', counts)
  for i = 1, #batch.phases do wrong = wrong or other_than('zset', KEYS[first_set + i]) end
  for i = 1, #batch.entities do wrong = wrong or other_than('string', KEYS[first_key + 2 * i - 1]) end
  return wrong or refused_by_acl({
    {'GET', KEYS[first_key + 1]},
    {'SET', KEYS[first_key + 1], ''},
    {'DEL', KEYS[first_key + 1], KEYS[first_key + 2]},
    {'RPUSH', KEYS[first_key + 2], ''},
    {'ZADD', KEYS[first_set + 1], 0, ''},
    {'ZREM', KEYS[first_set + 1], ''},
    {'ZCARD', KEYS[first_set + 1]},
    {'HSET', counts, '', ''},
  })
end

local why = refused()
if why then return why end

local function index(id, scores)
  for i, score in ipairs(scores) do
    if score == '' then
      redis.call('ZREM', KEYS[first_set + i], id)
    else
      redis.call('ZADD', KEYS[first_set + i], score, id)
    end
  end
end

local left, argument = {}, 1
for i, entity in ipairs(batch.entities) do
  local id, scores, length = unpack(entity)
  local status, list = KEYS[first_key + 2 * i - 1], KEYS[first_key + 2 * i]
  local found, wanted = ARGV[argument + 1], ARGV[argument + 2]
  local change = argument + 2
  argument = change + length
  if (redis.call('GET', status) or '') ~= found then
    left[#left + 1] = i
  else
    index(id, scores)
    redis.call('DEL', status, list)
    if wanted ~= '' then redis.call('SET', status, wanted) end
    for j = change + 1, change + length, CHUNK do
      redis.call('RPUSH', list, unpack(ARGV, j, math.min(j + CHUNK - 1, change + length)))
    end
  end
end
local sizes = {}
for i, phase in ipairs(batch.phases) do
  sizes[#sizes + 1] = phase
  sizes[#sizes + 1] = redis.call('ZCARD', KEYS[first_set + i])
end
redis.call('HSET', counts, unpack(sizes))
return left
