package conformal

// HarmonicMean fuses the p-values of k dependent tests: k / Σ 1/p (Wilson: The harmonic mean p-value for combining
// dependent tests, PNAS 2019). It stays small when one test alone is sure, and gets smaller when others agree. Tests that
// said nothing count with p = 1. As a p-value it is anti-conservative (arXiv 2405.01368), so it is only a score, to be
// calibrated again.
func HarmonicMean(ps []float64, k int) float64 {
	sum := float64(k - len(ps))
	for _, p := range ps {
		sum += 1 / p
	}
	return min(1, float64(k)/sum)
}
