//! A watched folder that an attacker may write into, too: links, pipes, names that are taken, and all of that while
//! files are moved.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gristmill_testkit::Random;
use gristmill_tests::place::{On, Place};
use gristmill_tests::program::Program;

const CONFIG: &str = r#"
[batch.sales]
source = { csv = "none.csv" }
aggregate = { rows = "count" }
output = { jsonl = "out" }
[watch.inbox]
folder  = "inbox"
pattern = "*.csv"
settle  = "0s"
batch   = "sales"
"#;

const SECRET: &str = "name\nonly-for-the-operator\n";

struct Scene {
    inbox: PathBuf,
    elsewhere: PathBuf,
    /// What honest people have put there.
    honest: BTreeSet<String>,
    /// What people have put where ours go, and what it holds.
    own: Vec<(PathBuf, String)>,
}

impl Scene {
    fn new(place: &Place) -> Self {
        let (inbox, elsewhere) = (place.file("inbox"), place.file("elsewhere"));
        for folder in [&inbox, &elsewhere] {
            fs::create_dir(folder).expect("made");
        }
        fs::write(elsewhere.join("secret.csv"), SECRET).expect("written");
        Self { inbox, elsewhere, honest: BTreeSet::new(), own: Vec::new() }
    }

    /// Puts a file that is complete at once, as honest people do.
    fn put(&mut self, random: &mut Random, name: &str) {
        let text = format!("name\nhonest-{:x}\n", random.draw());
        let beside = self.inbox.join(".new");
        fs::write(&beside, &text).expect("written");
        // Over a file that is there it would be the people themselves who lose it.
        if fs::hard_link(&beside, self.inbox.join(name)).is_ok() {
            self.honest.insert(text);
        }
        fs::remove_file(&beside).expect("removed");
    }

    fn attack(&mut self, random: &mut Random) {
        let name = format!("{}.csv", random.index(6));
        let (inbox, elsewhere) = (self.inbox.clone(), self.elsewhere.clone());
        match random.index(8) {
            0..3 => self.put(random, &name),
            3 => {
                // The file is away, and a link to what only the operator may read has its name.
                let _ = fs::rename(inbox.join(&name), inbox.join(format!("{:x}.kept", random.draw())));
                let _ = symlink(elsewhere.join("secret.csv"), inbox.join(&name));
            }
            4 => drop(fs::remove_file(inbox.join(&name))),
            5 => {
                let place = *random.pick(&["done", "failed", "working"]);
                let _ = fs::rename(inbox.join(place), inbox.join(format!("{place}.{:x}", random.draw())));
                let _ = symlink(&elsewhere, inbox.join(place));
            }
            6 => {
                for place in ["done", "failed", "working"] {
                    if fs::symlink_metadata(inbox.join(place)).is_ok_and(|found| found.is_symlink()) {
                        let _ = fs::remove_file(inbox.join(place));
                    }
                }
            }
            _ => {
                if fs::symlink_metadata(inbox.join("done")).is_ok_and(|found| found.is_symlink()) {
                    return;
                }
                let taken = inbox.join("done").join(random.pick(&[name.clone(), format!("{name}.note")]));
                let text = format!("somebody's own {:x}", random.draw());
                let beside = inbox.join(".own");
                fs::write(&beside, &text).expect("written");
                if fs::hard_link(&beside, &taken).is_ok() {
                    self.own.push((taken, text));
                }
                fs::remove_file(&beside).expect("removed");
            }
        }
    }
}

/// The texts of all regular files below a folder. Links are not followed.
fn texts(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            texts(&entry.path(), found);
        } else if kind.is_file() {
            found.push((entry.path(), fs::read_to_string(entry.path()).unwrap_or_default()));
        }
    }
}

/// What an attacker can remove by himself is no loss of ours: only files that he left alone are asked for.
fn attacked(scene: &mut Scene, random: &mut Random) {
    let before: BTreeSet<String> = scene.honest.clone();
    let mut there = Vec::new();
    texts(&scene.inbox, &mut there);
    scene.attack(random);
    let mut still = Vec::new();
    texts(&scene.inbox, &mut still);
    let texts_of = |files: &[(PathBuf, String)]| files.iter().map(|(_, text)| text.clone()).collect::<BTreeSet<_>>();
    let gone: Vec<String> = before.into_iter().filter(|text| texts_of(&there).contains(text)).collect();
    scene.honest.retain(|text| !gone.contains(text) || texts_of(&still).contains(text));
}

#[test]
fn no_file_is_read_through_a_link_overwritten_or_lost() {
    let place = Place::new(On::Sqlite);
    fs::write(place.file("config.toml"), CONFIG).expect("written");
    let program = Program::with_config(&place, place.file("config.toml"));
    let mut scene = Scene::new(&place);
    let process = program.start(&["dev"]);
    let runs = crate::runs(60, 20);
    let mut random = Random::new(crate::seed());
    for run in 0..runs {
        attacked(&mut scene, &mut random);
        std::thread::park_timeout(Duration::from_millis(if run % 10 == 9 { 700 } else { 40 }));
    }
    // The last ones are taken, once no link stands in the way any more.
    for place in ["done", "failed", "working"] {
        if fs::symlink_metadata(scene.inbox.join(place)).is_ok_and(|found| found.is_symlink()) {
            fs::remove_file(scene.inbox.join(place)).expect("removed");
        }
    }
    scene.put(&mut random, "last.csv");
    let begun = Instant::now();
    while !scene.inbox.join("done/last.csv").exists() {
        assert!(process.alive() && begun.elapsed() < gristmill_tests::program::PATIENCE, "the last file is not done");
        std::thread::park_timeout(Duration::from_millis(200));
    }
    let (status, log) = process.stop();
    assert!(status.success(), "{log}");
    judge(&place, &scene);
    crate::held("watched folders", &format!("{runs} moves, {} files kept", scene.honest.len()));
}

fn judge(place: &Place, scene: &Scene) {
    let (mut files, mut outside) = (Vec::new(), Vec::new());
    texts(&scene.inbox, &mut files);
    texts(&place.file("out"), &mut files);
    texts(&scene.elsewhere, &mut outside);
    let secret = files.iter().find(|(_, text)| text.contains("only-for-the-operator"));
    assert_eq!(secret, None, "it was read through a link");
    let all: BTreeSet<&str> = files.iter().chain(&outside).map(|(_, text)| text.as_str()).collect();
    let lost: Vec<&String> = scene.honest.iter().filter(|text| !all.contains(text.as_str())).collect();
    assert!(lost.is_empty(), "make attack SEED={}: lost {lost:?}", crate::seed());
    for (path, text) in &scene.own {
        assert!(all.contains(text.as_str()), "{} of somebody's own was overwritten", path.display());
    }
    let secret = fs::read_to_string(scene.elsewhere.join("secret.csv")).expect("readable");
    assert_eq!(secret, SECRET, "it was written to through a link");
    assert_eq!(outside.len(), 1, "something was put through a link: {outside:?}");
}
