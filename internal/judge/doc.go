// Package judge is Haldane's sequential statistics: evidence in, log e-values
// and a verdict out. It may be looked at after every request without losing its
// stated error probability. It knows no release, clock, goroutine, randomness
// or storage; time comes in as seconds since the run began.
//
// Read this file first (the formulas), then judge.go (what goes in and out).
//
// Natural logarithms. A is 1 for the canary and 0 for stable, w the probability
// that a unit was sent to the canary, L = log 1/alpha.
//
// # One bet
//
// label.go, bets.go. Given a unit's outcome x, which version served it? Component k gives x the
// odds r_k(x) > 0, chosen from the past only:
//
//	log E_k += A log r_k(x) - log(1 + w (r_k(x) - 1))
//
// (Podkopaev, Ramdas 2023; Shekhar, Ramdas 2023). The factor has mean 1 where
// version and outcome are independent given the past. The sum of the components,
// each with its prior, is one e-process: by Ville's inequality (1939) it ever
// reaches 1/alpha with probability alpha at most. Components start at many times
// (restarts; Shin, Ramdas, Rinaldo 2023, with a proper prior on the start): what is
// not yet in play counts as 1.
//
// Batch.Share > 0 is the routing mode, w = Share. Share = 0 is the counts mode,
// w = n_c/(n_c+n_s) of the batch: by the inequality of arithmetic and geometric
// means the product over independent units of one law keeps a mean of at most 1
// (Turner, Ly, Grünwald 2024).
//
// # Kinds
//
//   - Proportion (label.go, proportion.go): canary's rate c and stable's s, learnt, with
//     m = s + w(c-s): log E += e_c log(c/m) + (n_c-e_c) log((1-c)/(1-m)) +
//     e_s log(s/m) + (n_s-e_s) log((1-s)/(1-m)). With a tolerance, or counted by
//     units (PerUnit), the bad units alone bet, as those of a rate do.
//   - Rate (events.go): each of e_c+e_s events is the canary's with odds rho times those
//     of a unit, whatever the common rate does (Lindon, Malek 2022):
//     log E += e_c log(rho) - (e_c+e_s) log(1 + w(rho-1)); rho < 1 where fewer is
//     worse, rho_0 times as much where a ratio rho_0 is tolerated:
//     log E += e_c log(rho/rho_0) - (e_c+e_s) [log(1+w(rho-1)) - log(1+w(rho_0-1))].
//   - Latency, Amount (histogram.go, shape.go, exceed.go, clump.go): stable's own histogram p, scaled by f
//     for the part q of values: r(b) = 1 - q + q p(b/f)/p(b), made nondecreasing by
//     pooling adjacent violators; and odds on exceedances of high quantiles. Log
//     factors are divided by the design effect (Kish 1965) of the past seconds, by
//     successive differences (von Neumann 1941): a power below 1 of a factor keeps its
//     mean at most 1 (Jensen).
//   - Mean (mean.go): values y cut at the top T that stable's p99.9 and four times its
//     mean, or the scale, give, mu stable's past mean: E *= 1 + lam (A - w) (min(y, T) - mu)/T, with
//     lam = f/max(w, 1-w), f < 1 (Waudby-Smith, Ramdas 2024).
//   - Category, Drift (category.go): two-sided, r(y) = q_y/s_y with stable's share s_y, counts
//     plus one half, and q_y = (n_c,y + 20 s_y)/(n_c + 20) the canary's so far; the
//     classes of a drift are sixteen parts of stable's past.
//   - Gauge (gauge.go): D is how far the canary lies beyond its margin, phi the
//     autocorrelation of stable's history; the coin D_t > phi D_{t-1} comes up with
//     probability at most 1/2 while the canary is within the margin. The bet is a mixture
//     of biases b above 1/2: E *= 2b for "worse", 2(1-b) else.
//   - Agreement (agreement.go): pairs that stable won are coins in the same way, ties tell
//     nothing; that the canary loses at most delta more pairs than it wins is proven
//     by a bet on +1, -1 and 0.
//   - ShareCheck (sharecheck.go): the bet of a rate in which every unit is an event:
//     log E += n_c log(rho) - (n_c+n_s) log(1 + w(rho-1)), rho on both sides of 1; at
//     1/0.001 it asks for a pause (sample ratio mismatch). Where a router may be off by a
//     ratio of the odds (Batch.Slack), w is that much higher for rho > 1 and lower for rho < 1.
//
// # Beside a comparison
//
//   - An absolute limit (limited.go, level.go): that the canary's rate exceeds q, or a quantile
//     the limit, is a bet on its own units, k log(c/q) + (n-k) log((1-c)/(1-q)), for events
//     k log(c/q) - n (c-q), with c above q; the metric's evidence is the average of the two e-values.
//   - Bursts (clusters.go): in each interval, X the canary's share of the bad units:
//     log E += log(1 + X(rho-1)) - log(1 + w(rho-1)), the average of the factors of its
//     units in place of their product, which holds for any dependence in the interval.
//   - The guard (guard.go): both versions against Guard times stable's history q, on the
//     mean k/n of each interval of 5 s: E *= 1 + f (k/(n q) - 1), f < 1, whose mean is
//     at most 1 while the mean is at most q. At 1/0.001 it asks for a pause.
//   - The placebo (placebo.go): the same run on stable's units alone, a part of which is
//     labelled as the canary's with probability w. What it finds is a false alarm;
//     evidence of 1 : 20 in it says that units fail together, and bursts are judged from
//     then on. It looks at stable's traffic only, so that alpha stays.
//
// # All metrics together
//
// run.go: M = u + sum a_j M_j, with u the share of alpha that no metric has and
// u + sum a_j = 1; the run fails at M >= 1/alpha, whatever depends on what. Blame
// (blame.go) is e-BH (Wang, Ramdas 2022) of a_j M_j at the level of the run.
// Metrics that join midway (extend.go) have their share from u.
//
// # Proofs
//
// proof.go, quantile.go. Each required metric must be proven by itself, at 1/alpha of
// promotion (intersection-union, so that no alpha is split). Ratio rho, for
// alternatives a below it:
//
//	log E_a += e_c log(a/rho) - (e_c+e_s) [log(1+w(a-1)) - log(1+w(rho-1))]
//
// Difference d, stakes lam = f/(1/w - d): a bad unit of the canary log(1 + lam (d -
// 1/w)), of stable log(1 + lam (d + 1/(1-w))), a good one log(1 + lam d)
// (Waudby-Smith, Ramdas 2024). Both margins: the average of the two e-values, since
// the null of the looser one lies in both. A quantile: the ratio bet, at 1, on
// exceeding stable's quantile, canary's values divided by the margin.
//
// # What people read
//
// twoarm.go, mixture.go, bounded.go: always-valid intervals, the values that no
// mixture refuted (Howard, Ramdas, McAuliffe, Sekhon 2021), for quantiles Howard,
// Ramdas 2022. limit.go: no test needs fewer than w L / I(w) canary units on average,
// I(w) = w kl(c, m) + (1-w) kl(s, m) (Wald 1945).
package judge
