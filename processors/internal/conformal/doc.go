// Package conformal turns scores into p-values against what was usual lately: p = (1 + #{calibration ≥ score}) / (n + 1)
// (Vovk, Gammerman, Shafer: Algorithmic Learning in a Random World, 2005; Bates et al.: Testing for Outliers with
// Conformal p-values, 2023). If the score is exchangeable with those of the calibration, P(p ≤ α) ≤ α.
//
// Every score goes into the calibration, flagged or not: a calibration that leaves out what was flagged makes the rate of
// false alarms run away. What is kept is the last n of a class, never a random choice, so two runs keep the same.
//
//   - Recent is for a detector that sees every score. It keeps the last n, and never more than the newer half of all, so
//     that what was scored while everything was new leaves the calibration as fast as it is replaced.
//   - Censored is for a stage that sees only the unusual ones, and knows of each how many were scored so far: those that
//     it did not see were below the cut, so they count in n and are not above any score that is seen.
//
// # Precision
//
// Scores are kept as multiples of 1/64 up to 64, rounded down, and a score is compared with its whole bin. So a p-value
// is never smaller than the exact one, and larger by at most the share of the calibration in the score's own bin. Scores
// of 64 and more are one bin.
//
// Nothing is extrapolated below 1/(n+1). A generalized Pareto tail (Siffer et al., KDD 2017) assumes a continuous tail;
// the tails of rarity scores are a few atoms with many ties, on which its fit is not to be relied upon.
//
// # State
//
// A class is one row for the newest scores and one for each 64 older ones, so that a transaction writes what it touched.
// What is in memory besides, the sorted scores, is a cache of these rows: it is made anew whenever they have moved without
// it, after a restore, a roll-back or a refused record.
package conformal
