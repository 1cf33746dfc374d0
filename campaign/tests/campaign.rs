//! Twenty-five schedules of the fault campaign and thirty-six runs on one file, always the same ones. `make faults` runs
//! as many as wanted.

use gristmill_campaign::command::{on_one_file, processes};

/// Enough seeds to pass every failpoint: the seeds walk through them.
const SCHEDULES: u64 = 25;

/// How many of them run at once: they mostly wait.
const AT_ONCE: usize = 4;

#[test]
fn twenty_five_schedules_of_faults_lose_nothing_and_do_nothing_twice() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let figures = runtime.block_on(processes(SCHEDULES, 1, AT_ONCE));
    assert_eq!(figures.violations, 0, "{figures}; see above for the seeds");
    assert_eq!(figures.never_passed(), Vec::<&str>::new(), "a failpoint that no process reaches shows nothing");
}

/// The first twelve writes, before and after their commits, and as many instants.
const RUNS_ON_ONE_FILE: u64 = 36;

#[test]
fn a_program_on_one_file_that_is_killed_at_its_writes_loses_nothing_and_does_nothing_twice() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let figures = runtime.block_on(on_one_file(RUNS_ON_ONE_FILE, 0, AT_ONCE));
    assert_eq!(figures.violations, 0, "{figures}; see above for the seeds");
}
