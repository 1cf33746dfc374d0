//! Inputs that are sent to a server: gone on with where their connection breaks, and given up when they are changed.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::place::Place;
use crate::remote::{Server, busy, read, stderr};
use crate::stopping::until;

/// Passes connections on to a server. So many of them break after so many bytes of the client, and before each does, something
/// happens.
fn cutting(
    target: &str,
    mut cuts: u32,
    after: usize,
    before: impl Fn() + Send + Sync + 'static,
) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("its own"));
    let (target, carried) = (target.trim_start_matches("http://").to_owned(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&carried);
    let before = Arc::new(before);
    let pass = move |mut from: TcpStream, mut to: TcpStream, most: usize, count: Option<Arc<AtomicUsize>>| {
        let (mut buffer, mut passed) = (vec![0; 16 * 1024], 0);
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            passed += length;
            if let Some(count) = &count {
                count.fetch_add(length, Ordering::SeqCst);
            }
            if passed > most {
                before();
                break;
            }
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        passed > most
    };
    std::thread::spawn(move || {
        let (broke, broken) = std::sync::mpsc::channel();
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(&target) else { break };
            cuts -= u32::try_from(broken.try_iter().count()).expect("few");
            let most = if cuts > 0 { after } else { usize::MAX };
            let (back, answers) = (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
            let (there, here) = (pass.clone(), pass.clone());
            std::thread::spawn(move || there(answers, back, usize::MAX, None));
            let (broke, counted) = (broke.clone(), Arc::clone(&counted));
            std::thread::spawn(move || {
                if here(client, server, most, Some(counted)) {
                    let _ = broke.send(());
                }
            });
        }
    });
    (url, carried)
}

#[test]
fn an_input_goes_on_where_its_connection_broke() {
    let place = busy();
    let server = Server::begin(&place);
    let (url, carried) = cutting(&server.url, 3, 600_000, || ());
    let rows = (0..150_000).map(|row| format!("{row},FR,1,1.25\n"));
    let input: String = std::iter::once("id,country,quantity,price\n".to_owned()).chain(rows).collect();
    place.write("large.csv", &input);
    let args = ["batch", "run", "sales", "--input", "large.csv", "--json"];
    let output = place.command(&args).env("GRISTMILL_URL", &url).output().expect("started");
    let batch = read(0, &args, &output);
    assert_eq!(batch["batch"]["counts"]["input"], 150_000);
    assert_eq!(stderr(&output).matches("it goes on in").count(), 3, "{}", stderr(&output));
    let carried = carried.load(Ordering::SeqCst);
    assert!(carried < input.len() * 3 / 2, "it did not begin anew: {carried} of {}", input.len());
    assert_eq!(uploads_left(&place), 0, "the upload is not needed any more");
}

/// How many files of uploads the server has.
fn uploads_left(place: &Place) -> usize {
    let kept = std::fs::read_dir(place.path()).expect("readable").filter_map(Result::ok);
    let spools = kept.map(|entry| entry.path().join("uploads")).filter(|uploads| uploads.is_dir());
    spools.map(|uploads| std::fs::read_dir(uploads).expect("readable").count()).sum()
}

#[test]
fn an_input_that_is_changed_while_it_is_sent_starts_nothing_and_is_forgotten() {
    let place = busy();
    let server = Server::begin(&place);
    let batches = || place.json(0, &["batch", "list", "--json"]).as_array().expect("a list").len();
    let before = batches();
    let rows = (0..150_000).map(|row| format!("{row},FR,1,1.25\n"));
    let input: String = std::iter::once("id,country,quantity,price\n".to_owned()).chain(rows).collect();
    let shorter = input[..100_000].to_owned();
    let longer = format!("{input}150000,FR,1,1.25\n");
    let other = input.replace("149999,FR", "149999,DE");
    for (change, said) in [(shorter, "has 100000 now"), (longer, "was changed"), (other, "another one than was said")] {
        let file = place.write("large.csv", &input);
        // In place, as a program does that is still writing to it.
        let written = move || {
            let mut file = std::fs::File::options().write(true).open(&file).expect("open");
            file.write_all(change.as_bytes()).expect("written");
            file.set_len(change.len() as u64).expect("cut");
        };
        let (url, _) = cutting(&server.url, 2, 600_000, written);
        let log = place.path().join("run.log");
        let said_to = std::fs::File::create(&log).expect("a log");
        let mut command = place.command(&["batch", "run", "sales", "--input", "large.csv"]);
        let mut child =
            command.env("GRISTMILL_URL", &url).stdout(Stdio::null()).stderr(said_to).spawn().expect("started");
        let mut status = None;
        until("it gives up", || {
            status = child.try_wait().expect("it is our child");
            status.is_some()
        });
        let heard = std::fs::read_to_string(&log).expect("readable");
        assert_eq!(status.and_then(|status| status.code()), Some(5), "{heard}");
        assert!(heard.contains(said) && heard.contains("run the command again"), "{said}: {heard}");
        assert_eq!((uploads_left(&place), batches()), (0, before), "{heard}");
    }
}
