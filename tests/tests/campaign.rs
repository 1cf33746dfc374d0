//! Twenty-five schedules of the fault campaign, always the same ones. `make faults` runs as many as wanted.

use gristmill_tests::campaign::command::processes;

/// Enough seeds to pass every crash point: the seeds walk through them.
const SCHEDULES: u64 = 25;

/// How many of them run at once: they mostly wait.
const AT_ONCE: usize = 4;

#[test]
fn twenty_five_schedules_of_faults_lose_nothing_and_do_nothing_twice() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let figures = runtime.block_on(processes(SCHEDULES, 1, AT_ONCE));
    assert_eq!(figures.violations, 0, "{figures}; see above for the seeds");
    assert_eq!(figures.never_passed(), Vec::<&str>::new(), "a crash point that nobody reaches shows nothing");
}
