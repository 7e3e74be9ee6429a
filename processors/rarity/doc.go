// Package rarity scores how unusual a process is by how rarely the like of it was seen: its executable, the executable
// under its parent, what it touches; and how much its host does in a minute.
//
//	rarity.executable   a process starts:  −log2 P(executable)
//	rarity.lineage      a process starts:  −log2 P(executable | executable of the parent), and what led to it
//	rarity.template     an executable touches something that it never touched on the host: −log2 P(new | executable, kind)
//	rate.host           a minute of a host: how far its most unusual count is over what is usual, in mean deviations
//
// Rarity with a warm-up, and the entities reduced to templates, follow NoDoze (Hassan et al., NDSS 2019). Names are
// templates of paths (see LineageRecord.template), so that a test binary in a new temporary directory is nothing new.
//
// # Probabilities
//
// Counts are kept per host, and once more for all hosts of the tenant whose records lie in the same partition: a program
// that is new on one host but common on its neighbours is less of a surprise.
//
//   - Of executables: P = (1−λ)·count/total + λ·P(tenant), and the same of the tenant over a constant (Jelinek and Mercer
//     1980), λ = 1/128. λ is fixed, so what is new has the same score however long the host was watched: scores are to be
//     compared with those of a thousand starts ago, which a score that grows with the total is not.
//   - Of executables under a parent: count/(total+new+1) + P(new)·P(executable), where P(new) = (new+1)/(total+new+1) and
//     new is how often the parent started something for the first time (Witten and Bell 1991, method C). That a shell
//     starts a new program says little; that a server which always starts the same three does, much. P(new) is rounded up
//     to a power of two, for the same reason as above.
//   - Of what led to a start: half of the parent's own score, if it is not older than an hour. So the surprise of a chain of
//     starts is the sum of its steps, as in NoDoze, each step further back counting half.
//   - Of objects: P(new) as above, of the activities of one kind by one executable.
//
// Counts age: when a total reaches its bound (8192, 512 for parents, 1024 for objects), it and its counts are halved.
//
// # Units
//
// Executable and lineage judge process starts, template the first touch of an object template by an executable on a host,
// which lineage marks (first_object): a process that writes a thousand files of one sort is one unit and not a thousand.
// Of a process that touches many new things the least p-value counts, times how many they were within an hour (min-p:
// Tippett 1931, with Bonferroni's bound): who tries often must find something rarer.
// rate.host judges minutes. A unit is judged before it is learnt. What a scan finds running when a collector starts
// (snapshot) is learnt, and never judged.
//
// # p-values and warm-up
//
// A score becomes a conformal p-value against the last scores of its detector on its host (see package conformal). Before
// a host's warm-up is over, nothing is emitted, since then everything is rare. It is over when an hour of event time has
// passed since the first record of the host, and the detector has judged 500 units of it. After that p-values below 0.05
// are emitted. A sample of one in 256, chosen by the hash of the cause, is emitted always and marked as sampled: for audits
// of the calibration. DetectorScore.units says how many were judged in all, so a consumer knows how many it does not see.
//
// With each minute of a host a Readiness record says how far its warm-up is.
//
// What is not done: nothing waits before it is learnt, so who repeats something often enough makes it usual.
package rarity
