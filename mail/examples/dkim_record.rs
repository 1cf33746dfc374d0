//! Prints the text of the DNS record for a private key in PEM.
//!
//! ```text
//! cargo run --example dkim_record -- dkim.pem
//! ```

use std::process::ExitCode;

use gristmill_mail::dkim::Key;

fn main() -> ExitCode {
    let Some(file) = std::env::args().nth(1) else {
        eprintln!("name the file of a private key");
        return ExitCode::from(2);
    };
    let read = std::fs::read_to_string(&file).map_err(|error| error.to_string()).and_then(|pem| Key::from_pem(&pem));
    match read {
        Ok(key) => {
            eprintln!("the record SELECTOR._domainkey.DOMAIN is a TXT record with this text:");
            #[allow(clippy::print_stdout, reason = "it is what it is for")]
            {
                println!("{}", key.record());
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{file}: {why}");
            ExitCode::FAILURE
        }
    }
}
