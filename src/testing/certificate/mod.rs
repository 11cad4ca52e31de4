//! The crash certificate: power lost at every call, and every call failing, held to the model.
//!
//! Every scenario runs once to count its calls. Then, for each call, it runs again with the power
//! lost there, or with an error there; what is left on the disk is opened, interrupted at every
//! call of that recovery too, and opened for good. The state that is found must be one that the
//! durability promises: all that was acknowledged as durable, and of the rest a prefix in the
//! order of the commits.

mod crowd;
mod scenarios;
mod witness;

#[cfg(test)]
pub(crate) use witness::{between_slices, same};

use super::content::Chance;
use super::disk::{Call, Disk, Failure, Fault, Remains};
use crate::workers::{Workers, processor_count};
use crowd::{Crowd, crowds};
use scenarios::{Left, Scenario, all};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use witness::{Flaw, Run, Witness, check_left, try_open};

/// The two sizes of what a disk writes as one.
const SECTOR_BYTES: [usize; 2] = [4096, 512];
/// No recovery makes so many changing calls: beyond it one never ends.
const RECOVERY_CALLS_MAX: u64 = 10_000;
/// No scenario makes so many calls.
const CALLS_MAX: u64 = 10_000;
/// What is left after an error is drawn once for so many outcomes of a power loss.
const ERROR_OUTCOMES_ONE_IN: u64 = 8;
/// How many flaws of one scenario are told.
const FLAWS_TOLD_MAX: usize = 5;

/// How much is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where all chance comes from.
    pub seed: u64,
    /// What unsynced changes become is drawn so often for each call.
    pub outcomes: u64,
    /// Of so many recoveries one is interrupted at each of its calls.
    pub nested_one_in: u64,
}

impl Extent {
    /// What fits into a test: under half a minute on two processors.
    pub fn short(seed: u64) -> Extent {
        Extent { seed, outcomes: 1, nested_one_in: 8 }
    }

    /// What is worth some minutes: about eight times as much.
    pub fn long(seed: u64) -> Extent {
        Extent { seed, outcomes: 16, nested_one_in: 4 }
    }
}

/// What was covered of one scenario, and what went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScenarioReport {
    /// Its name.
    pub name: String,
    /// What happens in it.
    pub about: String,
    /// How many calls it makes.
    pub calls: u64,
    /// How many of them change something: so many places to lose power at.
    pub changing_calls: u64,
    /// How often power was lost in it.
    pub power_losses: u64,
    /// How often power was lost in the recovery from that.
    pub nested_power_losses: u64,
    /// How many calls failed.
    pub errors: u64,
    /// How many flaws there were.
    pub flaw_count: u64,
    /// The first of them, each with what repeats it.
    pub flaws: Vec<String>,
}

/// What [`certify`] found.
///
/// Its `Display` is a page of Markdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// How much was tried.
    pub extent: Extent,
    /// Each scenario, in order.
    pub scenarios: Vec<ScenarioReport>,
}

impl Certificate {
    /// Whether nothing went wrong.
    pub fn is_clean(&self) -> bool {
        self.scenarios.iter().all(|scenario| scenario.flaw_count == 0)
    }
}

/// Loses power and fails calls in every scenario, and says what came of it; `progress` gets each
/// report as it is finished.
///
/// Cost: some twenty seconds for [`Extent::short`], nothing but memory and all processors. What a
/// seed draws is the same each time; the graph id and the hash key of a graph are not, nor which of
/// several threads comes first.
///
/// # Panics
///
/// When the system gives no threads.
///
/// ```no_run
/// use followgraph::testing::{Extent, certify};
/// let certificate = certify(Extent::short(1), &mut |_| {});
/// assert!(certificate.is_clean(), "{certificate}");
/// ```
pub fn certify(extent: Extent, progress: &mut dyn FnMut(&ScenarioReport)) -> Certificate {
    let scenarios = all().into_iter().map(Subject::Scenario);
    let subjects: Vec<Subject> =
        scenarios.chain(crowds().into_iter().map(Subject::Crowd)).collect();
    let try_one = move |subject: Subject| match subject {
        Subject::Scenario(scenario) => Trial::new(extent, &scenario).report(),
        Subject::Crowd(crowd) => crowd.report(extent, &SECTOR_BYTES),
    };
    let mut workers = Workers::start("certify", processor_count(), subjects.len(), try_one);
    for subject in subjects {
        let done = workers.push(subject);
        assert!(done.is_none(), "all of them may be under way");
    }
    let mut reports = Vec::new();
    while let Some(report) = workers.next() {
        progress(&report);
        reports.push(report);
    }
    Certificate { extent, scenarios: reports }
}

/// What one thread does in order, or what several do at once.
enum Subject {
    Scenario(Scenario),
    Crowd(Crowd),
}

/// One scenario on its way.
struct Trial<'a> {
    extent: Extent,
    scenario: &'a Scenario,
    report: ScenarioReport,
    /// The kinds of calls it makes.
    kinds: Vec<Call>,
}

impl Trial<'_> {
    fn new(extent: Extent, scenario: &Scenario) -> Trial<'_> {
        let (name, about) = (scenario.name.to_owned(), scenario.about.to_owned());
        let report = ScenarioReport { name, about, ..ScenarioReport::default() };
        Trial { extent, scenario, report, kinds: Vec::new() }
    }

    fn report(mut self) -> ScenarioReport {
        // What recovery meets is drawn before its first call, so it is drawn more often.
        let factor = if self.scenario.left == Left::WithoutPower { 8 } else { 1 };
        for sector_bytes in SECTOR_BYTES {
            for outcome in 0..self.extent.outcomes * factor {
                self.lose_power_everywhere(sector_bytes, outcome);
            }
            self.fail_everywhere(sector_bytes);
        }
        self.report
    }

    /// The disk before the steps, and what may be on it.
    fn prepared(&self, sector_bytes: usize, seed: u64) -> Result<(Disk, Witness), Flaw> {
        let disk = Disk::new(sector_bytes);
        if self.scenario.before.is_empty() {
            return Ok((disk, Witness::new()));
        }
        let mut run = Run::new(disk, Witness::new(), self.scenario.durability);
        run.go(&self.scenario.before)?;
        match self.scenario.left {
            Left::Closed => {
                run.close();
                Ok((run.disk.copy(), run.witness))
            }
            Left::WithoutPower => {
                Ok((run.disk.after_power_loss(Remains::Seeded(seed)), run.witness))
            }
        }
    }

    fn note(&mut self, how: &str, outcome: Result<(), Flaw>) {
        note(&mut self.report, self.extent, how, outcome);
    }

    fn lose_power_everywhere(&mut self, sector_bytes: usize, outcome: u64) {
        for at in 0.. {
            let how = format!("sectors of {sector_bytes}, outcome {outcome}, power lost at {at}");
            let mut chance = chance(self.extent, [1, sector_bytes as u64, outcome, at]);
            let tried = guarded(|| self.lose_power(sector_bytes, at, &mut chance));
            let is_over = matches!(tried, Ok(false));
            self.note(&how, tried.map(|_| ()));
            if is_over {
                self.report.changing_calls = at;
                return;
            }
            self.report.power_losses += 1;
        }
    }

    /// False when the scenario ends before that call.
    fn lose_power(
        &mut self,
        sector_bytes: usize,
        at: u64,
        chance: &mut Chance,
    ) -> Result<bool, Flaw> {
        let (disk, witness) = self.prepared(sector_bytes, chance.next())?;
        disk.set_fault(Fault::PowerLoss { at, partly: chance.below(2) == 0 });
        let mut run = Run::new(disk, witness, self.scenario.durability);
        run.go(self.scenario.steps.as_slice())?;
        run.close();
        if run.disk.has_power() {
            self.report.calls = run.disk.calls().values().sum();
            self.kinds = run.disk.calls().into_keys().collect();
            return Ok(false);
        }
        let left = run.disk.after_power_loss(remains(chance));
        if chance.below(self.extent.nested_one_in) == 0 {
            self.lose_power_in_recovery(&left, &run.witness, chance)?;
        }
        check_left(&left, &run.witness, chance.below(4) == 0)?;
        Ok(true)
    }

    /// The same disk, opened with the power lost at each call of that.
    fn lose_power_in_recovery(
        &mut self,
        left: &Disk,
        witness: &Witness,
        chance: &mut Chance,
    ) -> Result<(), Flaw> {
        for at in 0..RECOVERY_CALLS_MAX {
            let disk = left.copy();
            disk.set_fault(Fault::PowerLoss { at, partly: chance.below(2) == 0 });
            if try_open(&disk, witness) || disk.has_power() {
                return Ok(());
            }
            self.report.nested_power_losses += 1;
            let again = disk.after_power_loss(remains(chance));
            check_left(&again, witness, false)
                .map_err(|flaw| format!("power lost again at {at} of the recovery: {flaw}"))?;
        }
        Err("a recovery does not end".to_owned())
    }

    fn fail_everywhere(&mut self, sector_bytes: usize) {
        use Failure::{Io, IoForgotten, NoSpace, Short};
        for failure in [NoSpace, Io, Short] {
            for lasting in [false, true] {
                self.fail_each(sector_bytes, None, failure, lasting);
            }
        }
        // The one call of a kind that fails once is one of the calls that failed above.
        for call in self.kinds.clone() {
            for failure in [NoSpace, Io, Short, IoForgotten] {
                if call.may_fail_with(failure) {
                    self.fail_each(sector_bytes, Some(call), failure, true);
                }
            }
            if call.may_fail_with(IoForgotten) {
                self.fail_each(sector_bytes, Some(call), IoForgotten, false);
            }
        }
    }

    /// Has each call fail, or each of a kind.
    fn fail_each(
        &mut self,
        sector_bytes: usize,
        kind: Option<Call>,
        failure: Failure,
        lasting: bool,
    ) {
        for at in 0..=CALLS_MAX {
            let fault = match kind {
                None => Fault::Error { at, failure, lasting },
                Some(call) => Fault::ErrorOf { call, at, failure, lasting },
            };
            for outcome in 0..self.extent.outcomes.div_ceil(ERROR_OUTCOMES_ONE_IN) {
                let how = format!("sectors of {sector_bytes}, outcome {outcome}, {fault:?}");
                let part = (failure as u64) << 1 | u64::from(lasting);
                let part = part << 8 | kind.map_or(0, |call| call as u64 + 1);
                let mut chance = chance(self.extent, [part + 2, sector_bytes as u64, outcome, at]);
                let tried = guarded(|| self.fail(sector_bytes, fault, &mut chance));
                let is_over = matches!(tried, Ok(false));
                self.note(&how, tried.map(|_| ()));
                if is_over {
                    return;
                }
                self.report.errors += 1;
            }
        }
        self.note(&format!("{failure:?}"), Err("a scenario does not end".to_owned()));
    }

    /// False when the scenario ends before that call.
    fn fail(
        &mut self,
        sector_bytes: usize,
        fault: Fault,
        chance: &mut Chance,
    ) -> Result<bool, Flaw> {
        let (disk, witness) = self.prepared(sector_bytes, chance.next())?;
        disk.set_fault(fault);
        let mut run = Run::new(disk, witness, self.scenario.durability);
        run.go(self.scenario.steps.as_slice())?;
        run.check_live()?;
        let calls = run.disk.calls();
        let is_over = match fault {
            Fault::Error { at, .. } => at >= calls.values().sum(),
            Fault::ErrorOf { call, at, .. } => at >= calls.get(&call).copied().unwrap_or(0),
            Fault::None | Fault::PowerLoss { .. } => true,
        };
        let crashes_open = chance.below(2) == 0;
        if !crashes_open {
            run.close();
        }
        // What a failed sync has left readable is the question as long as the power stays.
        let forgets = matches!(fault, Fault::ErrorOf { failure: Failure::IoForgotten, .. });
        let left = if chance.below(4) < if forgets { 3 } else { 2 } {
            run.disk.copy()
        } else {
            run.disk.after_power_loss(remains(chance))
        };
        run.close();
        if forgets && chance.below(self.extent.nested_one_in) == 0 {
            self.lose_power_in_recovery(&left, &run.witness, chance)?;
        }
        check_left(&left, &run.witness, true)?;
        Ok(!is_over)
    }
}

fn note(report: &mut ScenarioReport, extent: Extent, how: &str, outcome: Result<(), Flaw>) {
    if let Err(flaw) = outcome {
        report.flaw_count += 1;
        if report.flaws.len() < FLAWS_TOLD_MAX {
            report.flaws.push(format!("seed {}, {how}: {flaw}", extent.seed));
        }
    }
}

fn chance(extent: Extent, parts: [u64; 4]) -> Chance {
    let mut seed = extent.seed;
    for part in parts {
        seed = Chance::new(seed ^ part).next();
    }
    Chance::new(seed)
}

/// Mostly as the seed says, now and then one of the ends.
fn remains(chance: &mut Chance) -> Remains {
    match chance.below(8) {
        0 => Remains::Nothing,
        1 => Remains::Everything,
        _ => Remains::Seeded(chance.next()),
    }
}

/// A panic is a flaw as any other.
fn guarded<R>(run: impl FnOnce() -> Result<R, Flaw>) -> Result<R, Flaw> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("a panic: {}", text.unwrap_or_default()))
    })
}

impl fmt::Display for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Extent { seed, outcomes, nested_one_in } = self.extent;
        let version = env!("CARGO_PKG_VERSION");
        writeln!(
            formatter,
            "Version {version}, seed {seed}, {outcomes} outcomes for each call and sector size, \
             one recovery in {nested_one_in} interrupted at each of its calls. Sectors of 4,096 \
             and of 512 bytes. Each call fails full and broken, and half done where it can be, \
             once and from then on; each kind of call from each of its calls on; each sync with \
             its pages forgotten.\n"
        )?;
        writeln!(
            formatter,
            "| scenario | what happens | calls | that change | power lost | again in recovery \
             | calls failed | flaws |\n|---|---|---:|---:|---:|---:|---:|---:|"
        )?;
        let mut sums = [0; 4];
        for report in &self.scenarios {
            let ScenarioReport { name, about, calls, changing_calls, .. } = report;
            let counts =
                [report.power_losses, report.nested_power_losses, report.errors, report.flaw_count];
            let [lost, again, failed, flaws] = counts;
            writeln!(
                formatter,
                "| {name} | {about} | {calls} | {changing_calls} | {lost} | {again} | {failed} \
                 | {flaws} |"
            )?;
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        let [lost, again, failed, flaws] = sums;
        writeln!(formatter, "| all | | | | {lost} | {again} | {failed} | {flaws} |")?;
        for report in self.scenarios.iter().filter(|report| report.flaw_count > 0) {
            writeln!(formatter, "\n**{}**\n", report.name)?;
            for flaw in &report.flaws {
                writeln!(formatter, "* {flaw}")?;
            }
        }
        Ok(())
    }
}
