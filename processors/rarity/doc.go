// Package rarity scores how unusual a process is by how rarely the like of it was seen: its executable, the executable
// under its parent, what it touches, and how much its host does in a minute.
//
// Names are templates of paths (package lineage), so that a build in a new random folder is not new. Counts are kept per
// host; what other hosts of the tenant in the partition have seen counts a little: an executable that is new on one host but
// common elsewhere is less of a surprise. Surprise is in bits and falls with the logarithm of the count.
//
//	rarity.executable   a process starts: how rarely its executable was seen
//	rarity.lineage      a process starts: how rarely its parent's executable started it, and how often that started anything
//	rarity.template     an executable touches something for the first time: −log2 of the chance that it does, by how often
//	                    it did before (Witten and Bell 1991, method C: types / (tokens + types))
//	rarity.rate         a minute of a host: −log10 of the least p-value of its features
//
// Each score becomes a conformal p-value against the last scores of the host, or of the tenant while the host has few.
// Nothing is emitted before the warm-up is over, since then everything is rare: event time since the host's first event,
// and a number of calibrated scores. After it, only p-values below 0.05 are emitted, and a sample chosen by hash, for
// audits of the calibration. Processes that were running already when their collector started teach, and are not scored.
package rarity
