//! `gristmill top`: queues, batches and workers at work, on one screen of a terminal.
//!
//! [`glance`]: what is read each time. [`screen`]: what is known, and what a key changes; pure. [`draw`]: how it looks.
//! [`keys`]: what is pressed.

mod draw;
mod glance;
mod keys;
mod screen;

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use ratatui::DefaultTerminal;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use self::glance::Glance;
use self::keys::Keys;
use self::screen::{Asked, Screen};
use crate::cli::backend::Backend;
use crate::cli::context::{CommandContext, internal};
use crate::cli::output::Format;
use crate::exit_code::{CommandError, Exit, Result};
use crate::runtime::signals::Signals;

/// The shortest time between two looks: each costs a few statements.
const EVERY_MIN: Duration = Duration::from_millis(250);

/// How often what is shown is drawn anew although nothing has come: its age changes.
const REDRAW: Duration = Duration::from_secs(1);

/// How wide a screen is that is printed.
const PRINTED_COLUMNS: u16 = 110;

/// Watch queues, batches and workers on one screen
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill top
  gristmill top --every 5s
  gristmill --context prod top
  gristmill top --once --json

Keys: q leaves, p holds still, Tab chooses a list, the arrows move in it.")]
pub(crate) struct Top {
    /// How often to look
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = gristmill_core::duration::parse)]
    every: Duration,
    /// Print one screen and end, as is done where standard output is no terminal
    #[arg(long)]
    once: bool,
}

impl Top {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        if self.every < EVERY_MIN {
            return Err(CommandError::usage("--every is at least 250ms"));
        }
        let backend = context.backend().await?;
        let watch = Watch { backend, tenant: &context.tenant, every: self.every };
        if self.once || context.output.format != Format::Table || !std::io::stdin().is_terminal() {
            return watch.once(context).await;
        }
        let mut terminal = ratatui::try_init().map_err(|error| {
            CommandError::new(Exit::Unavailable, format!("the terminal does not take a screen: {error}"))
        })?;
        let ended = watch.follow(&mut terminal).await;
        ratatui::restore();
        ended
    }
}

/// What is watched, and how often.
struct Watch<'a> {
    backend: Backend<'a>,
    tenant: &'a str,
    every: Duration,
}

impl Watch<'_> {
    fn screen(&self) -> Screen {
        let place = match &self.backend {
            Backend::Store(local) => local.store().describe(),
            Backend::Server(server) => server.name().to_owned(),
        };
        Screen::new(&place, self.tenant)
    }

    async fn look(&self) -> Result<Glance> {
        Glance::take(&self.backend, self.tenant).await
    }

    /// One screen, as lines.
    async fn once(&self, context: &CommandContext) -> Result<Exit> {
        let glance = self.look().await?;
        if context.output.format == Format::Json {
            context.output.document(&glance);
            return Ok(Exit::Success);
        }
        let mut screen = self.screen();
        screen.saw(glance, Instant::now());
        for line in draw::printed(&screen, PRINTED_COLUMNS).map_err(internal)? {
            context.output.line(&line);
        }
        Ok(Exit::Success)
    }

    /// Looks and draws until a key or a signal ends it. A server that is slow keeps no key from being heard.
    async fn follow(&self, terminal: &mut DefaultTerminal) -> Result<Exit> {
        let (mut screen, mut keys, mut signals) = (self.screen(), Keys::listen(), Signals::listen()?);
        let mut redraw = interval(REDRAW);
        redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looking = Box::pin(self.after(Duration::ZERO));
        loop {
            let now = Instant::now();
            terminal.draw(|frame| draw::draw(frame, &screen, now)).map_err(internal)?;
            tokio::select! {
                seen = &mut looking => {
                    match seen {
                        Ok(glance) => screen.saw(glance, Instant::now()),
                        Err(error) => screen.missed(&error.message),
                    }
                    looking.set(self.after(self.every));
                }
                _ = redraw.tick() => {}
                pressed = keys.next() => match pressed.map(|key| screen.press(key)) {
                    Some(Asked::Nothing) => {}
                    Some(Asked::Leave) | None => return Ok(Exit::Success),
                },
                exit = signals.next() => return Ok(exit),
            }
        }
    }

    async fn after(&self, pause: Duration) -> Result<Glance> {
        sleep(pause).await;
        self.look().await
    }
}
