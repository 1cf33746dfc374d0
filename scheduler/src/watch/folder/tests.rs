//! Moves among people who move files at the same moment.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

struct Place {
    dir: tempfile::TempDir,
    inbox: Folder,
    done: Folder,
}

fn place() -> Place {
    let dir = tempfile::tempdir().expect("a folder");
    let inbox = Folder::open(dir.path()).expect("opened");
    let done = inbox.within("done").expect("made");
    Place { inbox, done, dir }
}

impl Place {
    fn put(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).expect("written");
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).expect(name)
    }

    fn moved(&self, name: &str) -> String {
        let opened = self.inbox.file(name).expect("opened");
        self.inbox.move_into(name, &opened, &self.done, name).expect("moved")
    }
}

#[test]
fn a_move_overwrites_nothing_and_one_that_was_cut_off_is_finished() {
    let place = place();
    for (text, name) in [("one", "a.csv"), ("two", "a.1.csv")] {
        place.put("a.csv", text);
        assert_eq!(place.moved("a.csv"), name);
    }
    place.put("a.csv", "three");
    fs::hard_link(place.dir.path().join("a.csv"), place.dir.path().join("done/a.2.csv")).expect("and then it died");
    assert_eq!(place.moved("a.csv"), "a.2.csv");
    let texts = ["done/a.csv", "done/a.1.csv", "done/a.2.csv"].map(|name| place.text(name));
    assert_eq!(texts, ["one", "two", "three"]);
    assert_eq!(place.inbox.names().expect("listed"), ["done"]);
    assert_eq!((numbered("none", 3), numbered("a.tar.gz", 1)), ("none.3".to_owned(), "a.tar.1.gz".to_owned()));
}

#[test]
fn what_was_opened_is_what_is_moved_whatever_has_its_name_by_then() {
    for replaced_by_a_link in [true, false] {
        let place = place();
        place.put("secret", "not for you");
        place.put("a.csv", "mine");
        let opened = place.inbox.file("a.csv").expect("opened");
        fs::remove_file(place.dir.path().join("a.csv")).expect("removed");
        if replaced_by_a_link {
            symlink(place.dir.path().join("secret"), place.dir.path().join("a.csv")).expect("linked");
        } else {
            place.put("a.csv", "a newer one");
        }
        // It has no name any more, so that there is nothing to be moved.
        place.inbox.move_into("a.csv", &opened, &place.done, "a.csv").expect_err("it is gone");
        fs::read(place.dir.path().join("done/a.csv")).expect_err("nothing was put there");
        let expected = if replaced_by_a_link { "not for you" } else { "a newer one" };
        assert_eq!(place.text("a.csv"), expected, "what stands there now is somebody's own");
    }
}

#[test]
fn a_file_that_takes_the_old_name_is_kept() {
    let place = place();
    place.put("a.csv", "mine");
    let opened = place.inbox.file("a.csv").expect("opened");
    place.inbox.link("a.csv", &opened, &place.done, "a.csv").expect("linked");
    fs::write(place.dir.path().join("new"), "a newer one").expect("written");
    fs::rename(place.dir.path().join("new"), place.dir.path().join("a.csv")).expect("renamed into place");
    place.inbox.retire("a.csv", &opened).expect("looked at");
    assert_eq!((place.text("a.csv"), place.text("done/a.csv")), ("a newer one".to_owned(), "mine".to_owned()));
}

#[test]
fn a_name_that_was_being_looked_at_when_the_process_died_comes_back() {
    let place = place();
    place.put(&format!("{LEAVING}a.csv"), "somebody's");
    place.put("a.csv", "another's");
    place.inbox.names().expect("listed");
    assert_eq!((place.text("a.csv"), place.text("a.1.csv")), ("another's".to_owned(), "somebody's".to_owned()));
}

#[test]
fn no_link_is_followed() {
    let place = place();
    let elsewhere = tempfile::tempdir().expect("a folder");
    fs::write(elsewhere.path().join("secret"), "not for you").expect("written");
    symlink(elsewhere.path().join("secret"), place.dir.path().join("a.csv")).expect("linked");
    let error = place.inbox.file("a.csv").expect_err("a link").to_string();
    assert_eq!(error, "it is a symbolic link");
    symlink(elsewhere.path(), place.dir.path().join("working")).expect("linked");
    let error = place.inbox.within("working").expect_err("a link").to_string();
    assert!(error.contains("must be a folder"), "{error}");
    place.inbox.existing("working").expect_err("a link");
    assert!(place.inbox.existing("failed").expect("looked").is_none());
    place.inbox.file("done").expect_err("a folder");
    let pipe = std::process::Command::new("mkfifo").arg(place.dir.path().join("pipe")).status().expect("run");
    assert!(pipe.success());
    place.inbox.file("pipe").expect_err("a pipe, which nobody writes into");
}

#[test]
fn a_note_takes_the_first_free_name_and_is_for_its_owner() {
    let place = place();
    place.put("done/a.csv.note", "a user's own");
    place.put("victim", "dear");
    symlink(place.dir.path().join("victim"), place.dir.path().join("done/a.csv.1.note")).expect("linked");
    place.done.note("a.csv", "what became of it").expect("written");
    assert_eq!((place.text("done/a.csv.note"), place.text("victim")), ("a user's own".to_owned(), "dear".to_owned()));
    assert_eq!(place.text("done/a.csv.2.note"), "what became of it\n");
    let mode = |name: &str| fs::metadata(place.dir.path().join(name)).expect(name).permissions().mode() & 0o777;
    assert_eq!((mode("done/a.csv.2.note"), mode("done")), (0o600, 0o700));
}

#[test]
fn a_rename_replaces_nothing() {
    let place = place();
    place.put("a", "one");
    place.put("done/a", "two");
    assert_eq!(place.inbox.rename("a", &place.done, "a"), Err(Errno::EXIST));
    place.inbox.give_back("a", &place.done, "a").expect("beside it");
    assert_eq!((place.text("done/a"), place.text("done/a.1")), ("two".to_owned(), "one".to_owned()));
}
