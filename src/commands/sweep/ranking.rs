//! Ranks of combinations of flags, and the effect of each flag.

use std::cmp::Ordering;

use serde::Serialize;

use super::result::TrialResult;

/// A flag and its value.
pub type Choice = (String, String);

/// A combination of flags and the results of its trials.
#[derive(Clone, Debug)]
pub struct Group<'r> {
    /// The flags that differ between combinations.
    pub choices: Vec<Choice>,
    /// A result for each seed.
    pub results: Vec<&'r TrialResult>,
    /// The round of successive halving that the results are of, counted from 0; of a folder without rounds, the number of
    /// trials.
    pub round: usize,
}

/// The figure that combinations are ranked by.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// C on the validation split: the lower, the better.
    ValidationCost,
    /// Accuracy on the validation split, where costs are of different kinds.
    ValidationAccuracy,
    /// R² on the validation split, where costs are of different kinds.
    ValidationR2,
}

impl Measure {
    /// The figure for some results: the cost, unless that is of different kinds.
    pub fn of<'r>(mut results: impl Iterator<Item = &'r TrialResult> + Clone) -> Self {
        if have_one_kind_of_cost(results.clone()) {
            Measure::ValidationCost
        } else if results.any(|result| result.validation_accuracy.is_some()) {
            Measure::ValidationAccuracy
        } else {
            Measure::ValidationR2
        }
    }

    /// The figure of a result.
    fn figure(self, result: &TrialResult) -> Option<f64> {
        match self {
            Measure::ValidationCost => result.validation_cost,
            Measure::ValidationAccuracy => result.validation_accuracy,
            Measure::ValidationR2 => result.validation_r2,
        }
    }

    /// The order of two figures: the better one first, that of a divergence last.
    fn compare(self, one: Option<f64>, other: Option<f64>) -> Ordering {
        match (one, other) {
            (Some(one), Some(other)) if self == Measure::ValidationCost => one.total_cmp(&other),
            (Some(one), Some(other)) => other.total_cmp(&one),
            (one, other) => other.is_some().cmp(&one.is_some()),
        }
    }
}

/// True if the costs of results can be compared. Outputs determine the range of the desired outputs, and what
/// cross-entropy is.
fn have_one_kind_of_cost<'r>(mut results: impl Iterator<Item = &'r TrialResult>) -> bool {
    let kind = |result: &'r TrialResult| ["cost", "output"].map(|flag| result.flags.get(flag));
    let first = results.next().map(kind);
    results.all(|result| Some(kind(result)) == first)
}

/// A mean with its standard error.
#[derive(Clone, Copy, PartialEq, Serialize, Debug)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Its standard error; `None` of one value.
    pub standard_error: Option<f64>,
}

impl Mean {
    /// The mean of some values; `None` of none, or where one is missing.
    pub fn of(values: impl IntoIterator<Item = Option<f64>>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().collect::<Option<_>>()?;
        let n = values.len() as f64;
        if values.is_empty() {
            return None;
        }
        let mean = values.iter().sum::<f64>() / n;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let standard_error = (values.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt());
        Some(Mean { mean, standard_error })
    }
}

/// The figures of a combination, or of a value of a flag.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Figures {
    /// Trials.
    pub trials: usize,
    /// Trials that ended in NaN or infinity.
    pub diverged: usize,
    /// C on the validation split; `None` where a trial diverged, or costs are of different kinds.
    pub validation_cost: Option<Mean>,
    /// Accuracy on the validation split; `None` for regression.
    pub validation_accuracy: Option<Mean>,
    /// R² on the validation split; `None` for classification.
    pub validation_r2: Option<Mean>,
}

impl Figures {
    fn of(results: &[&TrialResult]) -> Self {
        let diverged = results.iter().filter(|result| result.diverged.is_some()).count();
        Figures {
            trials: results.len(),
            diverged,
            validation_cost: Mean::of(results.iter().map(|result| result.validation_cost))
                .filter(|_| have_one_kind_of_cost(results.iter().copied())),
            validation_accuracy: Mean::of(results.iter().map(|result| result.validation_accuracy)),
            // A split whose targets are all the same has none.
            validation_r2: Mean::of(
                results.iter().map(|result| result.validation_r2).filter(|r2| r2.is_some() || diverged > 0),
            ),
        }
    }
}

/// A combination in its rank.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Ranked {
    /// The flags that differ between combinations.
    #[serde(serialize_with = "as_map")]
    pub choices: Vec<Choice>,
    /// Its epochs.
    pub epochs: Option<usize>,
    /// Its figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// The index of its group.
    #[serde(skip)]
    pub group: usize,
}

fn as_map<S: serde::Serializer>(choices: &[Choice], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(choices.iter().map(|(flag, value)| (flag, value)))
}

/// The effect of a flag: its values with the figures of all trials that have them.
#[derive(Clone, PartialEq, Serialize, Debug)]
pub struct Effect {
    /// The flag.
    pub flag: String,
    /// Its values.
    pub values: Vec<(String, Figures)>,
}

/// Ranks combinations, the best first; equal ones stay in order. What got into a later round is ranked before what did not.
pub fn ranked(groups: &[Group<'_>], measure: Measure) -> Vec<Ranked> {
    let rank = |(group, of): (usize, &Group<'_>)| Ranked {
        choices: of.choices.clone(),
        epochs: of.results.iter().map(|result| result.epochs).max(),
        figures: Figures::of(&of.results),
        group,
    };
    let with_results = groups.iter().enumerate().filter(|(_, group)| !group.results.is_empty());
    let mut ranked: Vec<Ranked> = with_results.map(rank).collect();
    let figure = |ranked: &Ranked| {
        Mean::of(groups[ranked.group].results.iter().map(|result| measure.figure(result))).map(|mean| mean.mean)
    };
    let round = |ranked: &Ranked| groups[ranked.group].round;
    ranked
        .sort_by(|one, other| round(other).cmp(&round(one)).then_with(|| measure.compare(figure(one), figure(other))));
    ranked
}

/// The best of the results of a combination.
pub fn best_of<'r>(group: &Group<'r>, measure: Measure) -> Option<&'r TrialResult> {
    group.results.iter().copied().min_by(|one, other| measure.compare(measure.figure(one), measure.figure(other)))
}

/// The 0.992 quantiles of Student's t with 1, 2, ... degrees of freedom, for 2, 3, ... differences. Chance exceeds them
/// once in 125 times: less than once in 20, since the best of up to two dozen combinations is looked at, most of which
/// are much alike.
const T_QUANTILES: [f64; 9] = [39.8, 7.81, 4.93, 4.01, 3.57, 3.32, 3.16, 3.04, 2.96];

/// The quantile for more differences.
const T_QUANTILE_OF_MANY: f64 = 2.89;

/// True where one combination is better than another by more than noise: by the differences between trials with the same seed,
/// which have the same splits. Of one trial each, any difference counts. Beside a combination that makes no mistake others are surer of
/// themselves, and nothing says that they are better.
pub fn is_clearly_better(one: &Group<'_>, other: &Group<'_>, measure: Measure) -> bool {
    if !other.results.is_empty() && other.results.iter().all(|result| result.validation_accuracy == Some(1.0)) {
        return false;
    }
    let sign = if measure == Measure::ValidationCost { -1.0 } else { 1.0 };
    let difference = |result: &&TrialResult| {
        let same = other.results.iter().find(|other| other.seed == result.seed)?;
        Some(sign * (measure.figure(result)? - measure.figure(same)?))
    };
    let differences: Vec<f64> = one.results.iter().filter_map(difference).collect();
    match Mean::of(differences.iter().map(|&difference| Some(difference))) {
        Some(Mean { mean, standard_error }) => {
            let clearly = T_QUANTILES.get(differences.len().saturating_sub(2)).unwrap_or(&T_QUANTILE_OF_MANY);
            mean > clearly * standard_error.unwrap_or(0.0)
        }
        None => true,
    }
}

/// The effect of each flag that differs. Trials that diverged are counted, and left out of the means.
pub fn effects(groups: &[Group<'_>]) -> Vec<Effect> {
    let mut effects: Vec<Effect> = Vec::new();
    let flags: Vec<&String> =
        groups.first().map_or(Vec::new(), |group| group.choices.iter().map(|(flag, _)| flag).collect());
    for flag in flags {
        let value_of =
            |group: &Group<'_>| group.choices.iter().find(|(other, _)| other == flag).map(|(_, value)| value.clone());
        let mut values: Vec<String> = Vec::new();
        // Of parts, and where time was short, some values have no trials.
        for value in groups.iter().filter(|group| !group.results.is_empty()).filter_map(value_of) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        let figures = |value: String| {
            let of_value = groups.iter().filter(|group| value_of(group).as_ref() == Some(&value));
            let all: Vec<&TrialResult> = of_value.flat_map(|group| group.results.iter().copied()).collect();
            let finite: Vec<&TrialResult> = all.iter().copied().filter(|result| result.diverged.is_none()).collect();
            let figures = Figures { trials: all.len(), diverged: all.len() - finite.len(), ..Figures::of(&finite) };
            (value, figures)
        };
        // Random combinations come in any order.
        if values.iter().all(|value| value.parse::<f64>().is_ok()) {
            values.sort_by(|one, other| one.parse().unwrap_or(0.0f64).total_cmp(&other.parse().unwrap_or(0.0)));
        }
        if values.len() > 1 {
            effects.push(Effect { flag: flag.clone(), values: values.into_iter().map(figures).collect() });
        }
    }
    effects
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(cost: &str, validation: Option<[f64; 2]>) -> TrialResult {
        TrialResult {
            trial: 1,
            flags: [("cost".to_string(), cost.to_string())].into(),
            seed: 0,
            round: None,
            epochs: 3,
            kept_epoch: Some(3),
            validation_cost: validation.map(|[cost, _]| cost),
            validation_accuracy: validation.map(|[_, accuracy]| accuracy),
            validation_r2: None,
            weights_sha256: None,
            seconds: 1.0,
            training_seconds: 1.0,
            diverged: validation.is_none().then(|| "NaN".to_string()),
            device: "cpu".to_string(),
            data_sha256: String::new(),
            validation_costs: Vec::new(),
        }
    }

    fn choices(eta: &str) -> Vec<Choice> {
        vec![("eta".to_string(), eta.to_string())]
    }

    #[test]
    fn means_have_the_standard_error_of_their_sample() {
        assert_eq!(Mean::of([Some(2.0)]), Some(Mean { mean: 2.0, standard_error: None }));
        // Deviations of -1, 0, 1: a variance of 1, and of the mean a third of it.
        let mean = Mean::of([1.0, 2.0, 3.0].map(Some)).expect("three values");
        assert_eq!(mean.mean, 2.0);
        assert!((mean.standard_error.expect("of three") - (1f64 / 3.0).sqrt()).abs() < 1e-15);
        assert_eq!((Mean::of([]), Mean::of([Some(1.0), None])), (None, None));
    }

    #[test]
    fn the_lowest_mean_cost_comes_first_and_what_diverged_last() {
        let results =
            [[0.3, 0.8], [0.1, 0.9], [0.15, 0.7], [0.05, 0.6]].map(|figures| result("quadratic", Some(figures)));
        let diverged = result("quadratic", None);
        let group = |eta: &str, results: Vec<_>| Group { choices: choices(eta), results, round: 0 };
        let groups = [
            group("9", vec![&diverged, &results[3]]),
            group("1", vec![&results[0], &results[1]]),
            group("2", vec![&results[2]]),
            group("3", vec![]),
        ];
        let all = groups.iter().flat_map(|group| group.results.iter().copied());
        let measure = Measure::of(all);
        assert_eq!(measure, Measure::ValidationCost);
        let order: Vec<usize> = ranked(&groups, measure).iter().map(|ranked| ranked.group).collect();
        assert_eq!(order, [2, 1, 0]);
        assert_eq!(best_of(&groups[1], measure).and_then(|best| best.validation_cost), Some(0.1));
        assert_eq!(best_of(&groups[0], measure).and_then(|best| best.validation_cost), Some(0.05));
        let effects = effects(&groups);
        assert_eq!((effects.len(), &*effects[0].flag), (1, "eta"));
        let values = effects[0].values.iter().map(|(value, _)| value.as_str()).collect::<Vec<_>>();
        assert_eq!(values, ["1", "2", "9"], "those with trials, by size");
        let nine = &effects[0].values[2];
        assert_eq!((&*nine.0, nine.1.trials, nine.1.diverged), ("9", 2, 1));
        assert_eq!(nine.1.validation_cost.map(|mean| mean.mean), Some(0.05));
    }

    #[test]
    fn a_difference_within_noise_is_none() {
        let of = |costs: [f64; 3]| {
            let results =
                (0..).zip(costs).map(|(seed, cost)| TrialResult { seed, ..result("quadratic", Some([cost, 0.5])) });
            results.collect::<Vec<_>>()
        };
        // Differences of 0.1 each, and of 0.3, 0.1 and -0.1: 0.1 on average, with a standard error of 0.115.
        let [base, steady, noisy] = [of([0.5, 0.7, 0.9]), of([0.4, 0.6, 0.8]), of([0.2, 0.6, 1.0])];
        let [base, steady, noisy] = [&base, &steady, &noisy].map(|results| Group {
            choices: choices("1"),
            results: results.iter().collect(),
            round: 0,
        });
        let measure = Measure::ValidationCost;
        assert!(is_clearly_better(&steady, &base, measure) && !is_clearly_better(&base, &steady, measure));
        assert!(!is_clearly_better(&noisy, &base, measure) && !is_clearly_better(&base, &base, measure));
    }

    /// Differences of 0.1 on average, whose standard error is a third or a fifth of that.
    #[test]
    fn of_five_differences_four_standard_errors_are_more_than_noise() {
        let of = |spread: f64, accuracy: f64| {
            let costs = [-2.0, -1.0, 0.0, 1.0, 2.0].map(|i| 0.5 + spread * i);
            let results = (0..)
                .zip(costs)
                .map(|(seed, cost)| TrialResult { seed, ..result("quadratic", Some([cost, accuracy])) });
            results.collect::<Vec<_>>()
        };
        let better = |base: Vec<TrialResult>, other: &[TrialResult]| {
            let base: Vec<_> = base
                .into_iter()
                .map(|result| TrialResult { validation_cost: result.validation_cost.map(|cost| cost + 0.1), ..result })
                .collect();
            let [base, other] = [&base[..], other].map(|results| Group {
                choices: choices("1"),
                results: results.iter().collect(),
                round: 0,
            });
            is_clearly_better(&other, &base, Measure::ValidationCost)
        };
        let error = |share: f64| 0.1 * share / (2.5f64 / 5.0).sqrt();
        assert!(!better(of(0.0, 0.9), &of(error(1.0 / 3.0), 0.9)));
        assert!(better(of(0.0, 0.9), &of(error(1.0 / 5.0), 0.9)));
        // Nothing is better than no mistake.
        assert!(!better(of(0.0, 1.0), &of(error(1.0 / 5.0), 1.0)));
    }

    #[test]
    fn costs_of_different_kinds_are_not_compared() {
        let (one, other) = (result("quadratic", Some([0.1, 0.8])), result("cross-entropy", Some([0.4, 0.9])));
        let groups = [&one, &other].map(|result| Group { choices: choices("1"), results: vec![result], round: 0 });
        let measure = Measure::of([&one, &other].into_iter());
        assert_eq!(measure, Measure::ValidationAccuracy);
        assert_eq!(ranked(&groups, measure)[0].group, 1);
    }
}
