-- Write the sizes of sets as the counts of their phases, as a commit does for each set that it touches.
--
-- KEYS[1] counts    hash: phase → how many
-- then    sorted sets of the ids in some phases
-- ARGV    these phases
--
-- Returns how many counts were written.

local counts = KEYS[1]

local refused = other_than('hash', counts) or refused_by_acl({{'HSET', counts, '', ''}})
if refused then return refused end

local pairs_of = {}
for i, phase in ipairs(ARGV) do
  pairs_of[2 * i - 1] = phase
  pairs_of[2 * i] = redis.call('ZCARD', KEYS[1 + i])
end
redis.call('HSET', counts, unpack(pairs_of))
return #ARGV
