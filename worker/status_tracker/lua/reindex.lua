-- Mend the place of an entity in a sorted set of ids, unless something moved since it was judged.
--
-- KEYS[1] status     string
-- KEYS[2] history    list: the newest change first
-- KEYS[3] set        of the ids in a phase, or of the marks of stalled entities
-- KEYS[4] counts     hash: phase → how many; only with the set of a phase
-- ARGV[1] id
-- ARGV[2] document   the status that it was judged by; '' where there was none
-- ARGV[3] newest     the newest change that it was judged by; '' where there was none
-- ARGV[4] held       the score that the set had for it; '' where it was not in it
-- ARGV[5] wanted     the score that it gets; '' to take it out
-- ARGV[6] phase      of the set; '' for the marks
--
-- Returns 1; or 0 where something is not as it was judged, or of another type, and nothing was written.
--
-- A commit is a script, too, so it came before this one, which is told by the status, or comes after it,
-- and finds the entity where its status says that it is.

local status, history, set, counts = unpack(KEYS)
local id, document, newest, held, wanted, phase = unpack(ARGV)

local function needed()
  return {
    {'GET', status},
    {'LINDEX', history, 0},
    {'ZSCORE', set, ''},
    {'ZADD', set, 0, ''},
    {'ZREM', set, ''},
    counts and {'HSET', counts, '', ''} or nil,
  }
end

local refused = refused_by_acl(needed())
if refused then return refused end

local function is_still(expected, ...) return (redis.call(...) or '') == expected end

if other_than('string', status) or other_than('list', history) or other_than('zset', set)
    or counts and other_than('hash', counts) then return 0 end
if not is_still(document, 'GET', status) or not is_still(newest, 'LINDEX', history, 0)
    or not is_still(held, 'ZSCORE', set, id) then return 0 end

local size = counts and redis.call('ZCARD', set)
local change
if wanted == '' then
  change = -redis.call('ZREM', set, id)
else
  change = redis.call('ZADD', set, wanted, id)
end
if counts then redis.call('HSET', counts, phase, size + change) end
return 1
