// Package ensemble turns detector scores into alerts.
//
// # Certain scores
//
// A certain score, of a rule that needs no baseline, is an alert at once: one per rule and entity. A repeat within 24 hours
// of event time is counted. One that brings a new object amends the alert.
//
// # Scores with p-values
//
// They are fused for each process over ten minutes from its first score. Three detectors take part, rarity.executable,
// rarity.lineage and rarity.template; one that is not listed takes no part in a decision, since weak members make a fusion
// worse. Their p-values are fused by the harmonic mean, which is only a score, and that is calibrated again: against the
// fused values of the host's processes before it. Only those with a p-value below 0.05 arrive here at all; how many
// processes were judged besides is in each score's units. So p = (1 + those at least as unusual) / (1 + processes judged in
// the same time), see package conformal. Counting begins with the start from which on rarity emits (emits_from). With few
// processes p cannot be small: at alpha 0.001 a host needs a thousand process starts from there on before rarity alone can
// be an alert (Config.StartsNeeded). That is meant: nobody can say "one in a thousand" of what was seen a hundred times.
//
// The cut is alpha, or less on a host that starts many processes a day: it is such that a host on which nothing happens is
// expected to have one alert a day. It is never below the least p-value that the calibration can give: where that stands
// for less than a day, to be the most unusual in it is enough, and the budget bounds the alerts. At or below the cut the
// process is an alert, unless it belongs to one that there is: evidence with p ≤ 0.01 about a process whose ancestor's
// start was an alert, or that was started by the same program from the same parent as one, in the last 24 hours, joins that
// alert. So does all later evidence about a process of an alert, and what was said in the ten minutes before about its
// process and the ancestors of it. An alert changes at most once a minute, by a revision that says everything the ones
// before it said.
//
// # Risk
//
// A host carries a risk that decays: R ← R·2^(−Δt/h) + max(0, −log10 e), with h of an hour and of a day, where e is how
// often a day the like of a process is expected: p times the processes that the host starts in a day, or 100 if it starts
// fewer. A certain score adds the square of its severity, each further ATT&CK tactic within a day 2 more. (Summed, decayed
// risk and distinct tactics are Splunk's risk-based alerting.) An alert shows 100·(1 − e^(−R/10)) with the greater of R of
// an hour and a third of R of a day. The severity of alerts from rarity follows it; that of a certain score is its rule's.
// rate.host only adds risk and is shown by alerts in the ten minutes after it: a busy minute says nothing about who is to
// blame.
//
// # Budget
//
// Days differ, so alerts from rarity also have a budget per host, an hour and a day. Those of certain rules count and always
// pass. What it holds back is counted, told by every later alert of the day (held_back), and named, hour by hour, in one
// summary alert per host and day.
package ensemble
