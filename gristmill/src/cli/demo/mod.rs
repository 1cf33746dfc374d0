//! `gristmill demo`: orders with realistic errors in them, a batch over them, and what to look at then.

pub(crate) mod gateway;
pub(crate) mod generate;
pub(crate) mod supplier;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf, absolute};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use gristmill_service::documents::BatchWithResult;
use gristmill_store::BatchView;
use serde::Serialize;

use super::batch_run::Run;
use super::batch_view::{end, print};
use super::waiting::see_through;
use crate::cli::context::CommandContext;
use crate::cli::demo::gateway::{CONFIG, RETRIED};
use crate::cli::demo::generate::{Dirt, articles, orders};
use crate::cli::demo::supplier::{SERVED, STOCK};
use crate::cli::output::{Format, grouped};
use crate::cli::wait::Ended;
use crate::config::error::all_of;
use crate::config::{Layers, load};
use crate::exit_code::{CommandError, Exit, Result};
use crate::runtime::roles::Roles;
use crate::runtime::serve::serve;
use crate::runtime::work::{WaitFor, Work};

/// The name of the batch definition.
const BATCH: &str = "orders";

/// How many articles the slow supplier is asked for: minutes of work.
const ARTICLES: u64 = 4_000;

/// Make 100,000 orders and run a batch over them, here and now
#[derive(Debug, Args)]
#[command(before_help = "Examples:
  gristmill demo
  gristmill demo --items 5000 --seed 7 --json
  gristmill demo --serve
  gristmill --store postgres://app@localhost/app --broker amqp://guest@localhost/%2f demo

Everything that it makes lies in ./gristmill-demo. A second run is a second batch in the same store.")]
pub(crate) struct Demo {
    /// How many orders
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    items: u64,
    /// The same seed makes the same orders on every machine
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Where everything is put
    #[arg(long, value_name = "FOLDER", default_value = "gristmill-demo")]
    dir: PathBuf,
    /// Go on until Ctrl-C, with schedules, a slow queue, mails and what fails, and serve all of it over HTTP
    #[arg(long)]
    serve: bool,
}

impl Demo {
    pub(super) async fn run(self, context: &CommandContext) -> Result<Exit> {
        let ended = self.show(context).await?;
        if !self.serve || !matches!(ended, Exit::Success) {
            return Ok(ended);
        }
        let context = self.enter(context)?;
        context.output.note("asking a slow supplier for the stock of every article, in a second batch");
        Run::waiting(STOCK).start(&context).await?;
        serve(&context, Roles::BOTH, true).await
    }

    /// Runs the batch over the orders, and shows what became of it.
    async fn show(&self, context: &CommandContext) -> Result<Exit> {
        let (orders, dirt) = self.prepare()?;
        context.output.note(&format!("{} orders in {}", grouped(self.items), orders.display()));
        let context = self.enter(context)?;
        let before = mails(&self.dir);
        RETRIED.store(0, Ordering::Relaxed);
        let run = Run::waiting(BATCH);
        let began = Instant::now();
        run.check(&context)?;
        let batch = run.start(&context).await?;
        let ended = see_through(&context, batch, Work::Auto, WaitFor::Ever).await?;
        let took = began.elapsed();
        context.close().await;
        let Ended::Final(view) = &ended else { return end(&context, &ended).await };
        let mail = mails(&self.dir).into_iter().find(|mail| !before.contains(mail));
        let story = Story { demo: self, dirt, view, mail, took };
        story.summarize(&context);
        Ok(if view.state.is_final() && view.reason.is_none() { Exit::Success } else { Exit::Failed })
    }

    /// Writes the orders and the configuration. The orders of a seed are generated again into another file and put in
    /// place at once: an earlier batch may still read them, and finds the same bytes.
    fn prepare(&self) -> Result<(PathBuf, Dirt)> {
        let wrong = |path: &Path, error: std::io::Error| {
            CommandError::new(Exit::Unavailable, format!("`{}` cannot be written: {error}", path.display()))
                .hint("name another folder with --dir")
        };
        std::fs::create_dir_all(&self.dir).map_err(|error| wrong(&self.dir, error))?;
        let path = self.dir.join(format!("orders-{}-{}.csv", self.items, self.seed));
        let made = if path.exists() { None } else { Some(self.dir.join("orders.tmp")) };
        let dirt = match &made {
            None => orders(self.items, self.seed, &mut std::io::sink()),
            Some(made) => write_orders(made, self.items, self.seed),
        };
        let dirt = dirt.map_err(|error| wrong(&path, error))?;
        if let Some(made) = made {
            std::fs::rename(&made, &path).map_err(|error| wrong(&path, error))?;
        }
        let stock = self.dir.join("articles.csv");
        if self.serve && !stock.exists() {
            write_articles(&stock).map_err(|error| wrong(&stock, error))?;
        }
        let config = self.dir.join("config.toml");
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let served = if self.serve { SERVED } else { "" };
        let text = format!("{}{served}", CONFIG.replace("@ORDERS@", &name));
        std::fs::write(&config, text).map_err(|error| wrong(&config, error))?;
        Ok((path, dirt))
    }

    /// The same command line with the demo's configuration; another store or broker may still be named.
    fn enter(&self, context: &CommandContext) -> Result<CommandContext> {
        let layers = Layers { file: Some(self.dir.join("config.toml")), ..context.layers.clone() };
        let loaded = load(&layers).map_err(all_of)?;
        Ok(context.with(loaded, layers))
    }
}

fn write_orders(path: &Path, items: u64, seed: u64) -> std::io::Result<Dirt> {
    let mut file = BufWriter::new(File::create(path)?);
    let dirt = orders(items, seed, &mut file)?;
    file.flush()?;
    Ok(dirt)
}

/// In place at once, as the orders are.
fn write_articles(path: &Path) -> std::io::Result<()> {
    let made = path.with_extension("tmp");
    let mut file = BufWriter::new(File::create(&made)?);
    articles(ARTICLES, &mut file)?;
    file.flush()?;
    std::fs::rename(made, path)
}

/// The emails in the demo's folder.
fn mails(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("mail")).into_iter().flatten().flatten();
    let mut mails: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    mails.retain(|path| path.extension().is_some_and(|extension| extension == "eml"));
    mails.sort();
    mails
}

/// The report at the end, in JSON.
#[derive(Serialize)]
struct StoryDocument {
    #[serde(flatten)]
    batch: BatchWithResult,
    demo: DemoDocument,
}

#[derive(Serialize)]
struct DemoDocument {
    items: u64,
    seed: u64,
    dirt: Dirt,
    items_retried: u64,
    seconds: f64,
    mail: Option<PathBuf>,
    next: Vec<String>,
}

/// The report at the end.
struct Story<'a> {
    demo: &'a Demo,
    dirt: Dirt,
    view: &'a BatchView,
    mail: Option<PathBuf>,
    took: Duration,
}

impl Story<'_> {
    fn summarize(&self, context: &CommandContext) {
        let next = self.next(context);
        let mail = self.mail.as_ref().map(|path| absolute(path).unwrap_or_else(|_| path.clone()));
        if context.output.format == Format::Json {
            let demo = DemoDocument {
                items: self.demo.items,
                seed: self.demo.seed,
                dirt: self.dirt,
                items_retried: RETRIED.load(Ordering::Relaxed),
                seconds: self.took.as_secs_f64(),
                mail,
                next,
            };
            return context.output.document(&StoryDocument { batch: self.view.into(), demo });
        }
        print(&context.output, self.view, self.view.into());
        self.sum_up(context);
        match mail {
            Some(mail) => context.output.line(&format!("the report    {}", mail.display())),
            None => context.output.line("the report    is not delivered yet; see the jobs of kind `email`"),
        }
        context.output.line("\nTo go on:");
        for command in next {
            context.output.line(&format!("  {command}"));
        }
        if !self.demo.serve {
            context.output.line("\nTo see it in a browser, at work, until Ctrl-C:");
            context.output.line(&format!("  {} demo --serve", context.program()));
        }
    }

    fn sum_up(&self, context: &CommandContext) {
        let counts = &self.view.counts;
        let line = |text: &str| context.output.line(text);
        line("");
        line(&format!(
            "counts        {} input = {} ok + {} skipped + {} quarantined + {} cancelled + {} pending",
            grouped(counts.input),
            grouped(counts.ok),
            grouped(counts.skipped),
            grouped(counts.quarantined),
            grouped(counts.cancelled),
            grouped(counts.pending()),
        ));
        let millis = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX).max(1);
        line(&format!(
            "time          {}.{:01} s, {} items/s",
            millis / 1_000,
            millis % 1_000 / 100,
            grouped(counts.input * 1_000 / millis)
        ));
        let dirt = &self.dirt;
        line(&format!(
            "quarantined   {} without a customer, {} bad quantities, {} bad prices, {} never charged",
            grouped(dirt.missing_customer),
            grouped(dirt.bad_quantity),
            grouped(dirt.bad_price),
            grouped(dirt.never)
        ));
        line(&format!("skipped       {} test orders", grouped(dirt.tests)));
        line(&format!(
            "tried again   {} items that failed once, {} twice, and the {} that never went through",
            grouped(dirt.fails_once),
            grouped(dirt.fails_twice),
            grouped(dirt.never)
        ));
        line(&format!(
            "duplicates    {} rows repeat an order's number: they are kept, and `orders` counts the different ones",
            grouped(dirt.duplicates)
        ));
    }

    /// The commands that a curious operator would type next. They work as shown.
    fn next(&self, context: &CommandContext) -> Vec<String> {
        let program = context.program_here();
        let id = self.view.id;
        vec![
            format!("{program} quarantine list --batch {id} --limit 10"),
            format!("{program} batch show {id} --json"),
            format!("{program} batch run {BATCH} --chunk 50 --wait"),
        ]
    }
}
