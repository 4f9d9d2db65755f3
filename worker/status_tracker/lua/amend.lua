-- Write fields of what a deployment agrees on, unless somebody else changed it meanwhile.
--
-- KEYS[1] meta      hash: version, partitions, layout, rules, revision, rules:<n>
-- ARGV[1] version   that was seen there; '' for none
-- ARGV[2] revision  that was seen there; '' for none
-- then    field, value, …
--
-- Returns what the hash holds then: [field, value, …].

local meta, version, revision = KEYS[1], ARGV[1], ARGV[2]

local refused = other_than('hash', meta) or refused_by_acl({
  {'HGET', meta, ''},
  {'HSET', meta, '', ''},
  {'HGETALL', meta},
})
if refused then return refused end

local function is_seen(field, seen) return (redis.call('HGET', meta, field) or '') == seen end

if is_seen('version', version) and is_seen('revision', revision) then
  redis.call('HSET', meta, unpack(ARGV, 3))
end
return redis.call('HGETALL', meta)
