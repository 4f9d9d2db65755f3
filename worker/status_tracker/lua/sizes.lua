-- Say what the counts of a kind are, and how large the sets are that they are the sizes of.
--
-- KEYS[1] counts    hash: phase → how many
-- then    sorted sets of the ids in some phases
-- ARGV    these phases
--
-- Returns [count, size, count, size, …]; nil for a count that is not there.

local answer = {}
for i, phase in ipairs(ARGV) do
  answer[2 * i - 1] = redis.call('HGET', KEYS[1], phase)
  answer[2 * i] = redis.call('ZCARD', KEYS[1 + i])
end
return answer
