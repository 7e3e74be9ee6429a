// Package ensemble turns detector scores into alerts.
//
// A certain score, of a rule that needs no baseline, is an alert at once: one per rule and entity, and repeats within 24 h
// of event time are only counted.
//
// Scores with p-values are fused per process while it is active. The p-values of its detectors are fused by their harmonic
// mean, which is only a score, and that is calibrated again: against the fused values of the processes before it, of which
// only those with a p-value below 0.05 arrive here at all. How many processes were scored besides is in each score's units,
// so the calibrated p-value is (1 + those at least as unusual) / (1 + processes scored in the same time). Below alpha it is
// an alert; detectors that join later amend it.
//
// A first touch of something new (rarity.template) only supports: alone it ranks no better than chance, and a weak member
// makes a fusion worse.
//
// Every alert raises the risk of its host, which decays with a half-life (after Splunk's risk-based alerting): R ← R·2^(−Δt/h)
// + max(0, −log10 p − 2). Alerts from rarity have a budget per host, an hour and a day. What it holds back is counted, told
// by the next alert (held_back), and by one summary alert at the end of the day: nothing is dropped silently.
package ensemble
