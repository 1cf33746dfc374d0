//! What is pressed.

use std::time::Duration;

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, poll, read};
use tokio::sync::mpsc;

/// How long the thread that listens goes on when its keys are heard no more.
const ASK: Duration = Duration::from_millis(100);

/// What a key means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// End.
    Leave,
    /// Hold still, or go on.
    Hold,
    /// The next list.
    Next,
    /// Up in the list.
    Up,
    /// Down in the list.
    Down,
    /// The screen has another size.
    Resized,
}

impl Key {
    fn of(event: &Event) -> Option<Self> {
        let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else {
            return matches!(event, Event::Resize(..)).then_some(Self::Resized);
        };
        match code {
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Some(Self::Leave),
            KeyCode::Char('q') | KeyCode::Esc => Some(Self::Leave),
            KeyCode::Char('p' | ' ') => Some(Self::Hold),
            KeyCode::Tab => Some(Self::Next),
            KeyCode::Up | KeyCode::Char('k') => Some(Self::Up),
            KeyCode::Down | KeyCode::Char('j') => Some(Self::Down),
            _ => None,
        }
    }
}

/// The keys of the terminal. They are read on a thread of their own, which waits for them.
pub(super) struct Keys(mpsc::Receiver<Key>);

impl Keys {
    /// Listens until this is dropped.
    pub(super) fn listen() -> Self {
        let (heard, keys) = mpsc::channel(16);
        std::thread::spawn(move || {
            while !heard.is_closed() {
                let event = match poll(ASK) {
                    Ok(false) => continue,
                    Ok(true) => read(),
                    Err(error) => Err(error),
                };
                // A terminal that is gone says nothing more.
                let Ok(event) = event else { return };
                if let Some(key) = Key::of(&event)
                    && heard.blocking_send(key).is_err()
                {
                    return;
                }
            }
        });
        Self(keys)
    }

    /// The next one; `None` when the terminal is gone.
    pub(super) async fn next(&mut self) -> Option<Key> {
        self.0.recv().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_means_the_same_wherever_a_hand_rests() {
        let press = |code, modifiers| Key::of(&Event::Key(KeyEvent::new(code, modifiers)));
        let plain = |code| press(code, KeyModifiers::NONE);
        assert_eq!(plain(KeyCode::Char('q')), Some(Key::Leave));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Leave));
        assert_eq!(plain(KeyCode::Char('c')), None);
        assert_eq!(plain(KeyCode::Char('j')), plain(KeyCode::Down));
        assert_eq!(plain(KeyCode::Char('k')), plain(KeyCode::Up));
        assert_eq!(Key::of(&Event::Resize(80, 24)), Some(Key::Resized));
        let mut up = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
        up.kind = KeyEventKind::Release;
        assert_eq!(Key::of(&Event::Key(up)), None, "a key counts once");
    }
}
