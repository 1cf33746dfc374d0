//! Second factors: offer one, confirm it by its first code, ask for a code at each login, remove it.
//!
//! The secret is drawn here and shown once, when it is offered. Of the recovery codes only their hashes are kept.

use gristmill_core::audit::Action;
use gristmill_core::email_address::EmailAddress;
use gristmill_core::id::UserId;
use gristmill_core::login::{PER_ACCOUNT, PER_ADDRESS};
use gristmill_store::StoreError;
use gristmill_store::accounts::{ConfirmFactor, Factor, LoginStart, LoginTry, Second, SecretHash};
use ring::rand::{SecureRandom, SystemRandom};

use super::error::{AccountError, Result};
use super::sealing::{open, seal};
use super::secret::Secret;
use super::totp;
use super::verbs::Accounts;
use crate::order::Order;

/// How many bytes a secret has: as many as the hash of its codes, as RFC 4226 wants it.
const SECRET_BYTES: usize = 20;

/// How many recovery codes there are.
pub const RECOVERY_CODES: usize = 10;

/// How many bytes a recovery code has: sixteen letters, too many to be tried.
const RECOVERY_BYTES: usize = 10;

/// A factor that is offered: shown this once.
#[derive(Debug, Clone, PartialEq)]
pub struct OfferedFactor {
    /// Its secret in base 32, for those who type it.
    pub secret: Secret,
    /// The same as an address, for those who show it as a square of dots.
    pub uri: Secret,
}

/// What a person shows who changes their factor: their password, from where.
#[derive(Debug, Clone, PartialEq)]
pub struct Proof {
    /// Who.
    pub user: UserId,
    /// Their password.
    pub password: Secret,
    /// Where the try comes from, as at a login.
    pub address: String,
}

impl Accounts {
    /// Offers a second factor, which does nothing until it is [confirmed](Accounts::confirm_factor).
    ///
    /// # Errors
    ///
    /// `WrongPassword`, `Wait` after too many tries, `Conflict` when there is one already, and other store errors.
    pub async fn offer_factor(&self, order: &Order, proof: &Proof) -> Result<OfferedFactor> {
        let (email, attempt) = self.prove(order, proof).await?;
        let secret = drawn::<SECRET_BYTES>()?;
        let sealed = seal(&self.settings.key_file, proof.user.0, &secret)?;
        self.add(order, self.store().offer_factor(proof.user, &sealed)).await?;
        self.store().take_back_try(&attempt).await?;
        let uri = Secret::new(totp::uri(&secret, email.as_str()));
        Ok(OfferedFactor { secret: Secret::new(totp::base32(&secret)), uri })
    }

    /// Confirms a factor by its first code, and returns its recovery codes, which are shown this once. All sessions of the
    /// user end but the one that asks: they were opened without a second factor.
    ///
    /// # Errors
    ///
    /// `WrongCode`, `Conflict` when there is nothing to confirm, and other store errors.
    pub async fn confirm_factor(
        &self,
        order: &Order,
        user: UserId,
        code: &Secret,
        keep: Option<SecretHash>,
    ) -> Result<Vec<Secret>> {
        let factor = self.store().factor(user).await?.filter(|factor| !factor.confirmed);
        let nothing =
            || StoreError::Conflict("there is no second factor to be confirmed; ask for one first".to_owned());
        let factor = factor.ok_or_else(nothing)?;
        let Some(Second::Step(step)) = self.shown(user, &factor, code).await? else {
            return Err(AccountError::WrongCode);
        };
        let codes = (0..RECOVERY_CODES).map(|_| recovery_code()).collect::<Result<Vec<_>>>()?;
        let recovery = codes.iter().map(Secret::hash).collect();
        let confirm = ConfirmFactor { user, secret: factor.secret, step, recovery, keep };
        self.change(order, self.at(order, Action::FactorEnrol, user).confirm_factor(&confirm)).await?;
        Ok(codes)
    }

    /// Removes a person's own factor, of which they show a code as well.
    ///
    /// # Errors
    ///
    /// `WrongPassword`, `WrongCode`, `Wait` after too many tries, and store errors: `NotFound` when there is none.
    pub async fn remove_factor(&self, order: &Order, proof: &Proof, code: &Secret) -> Result<()> {
        let (_, attempt) = self.prove(order, proof).await?;
        let factor = self.store().factor(proof.user).await?.filter(|factor| factor.confirmed);
        let missing = || StoreError::NotFound("there is no second factor".to_owned());
        // A wrong code counts as a try that was in vain: it is tried through as little as a password.
        let second =
            self.shown(proof.user, &factor.ok_or_else(missing)?, code).await?.ok_or(AccountError::WrongCode)?;
        let store = self.at(order, Action::FactorRemove, proof.user);
        self.change(order, store.remove_factor(proof.user, Some(second))).await.map_err(spent)?;
        Ok(self.store().take_back_try(&attempt).await?)
    }

    /// Takes a user's factor away who has lost it, for the owner of the installation. All their sessions end. Returns
    /// whether there was one.
    ///
    /// # Errors
    ///
    /// Store errors.
    pub async fn reset_factor(&self, order: &Order, user: UserId) -> Result<bool> {
        self.change(order, self.at(order, Action::FactorReset, user).remove_factor(user, None)).await
    }

    /// What a login shows of a second factor, where the account has one. A login without a code is told to bring one, and
    /// counts as no try: nothing was tried.
    pub(super) async fn second_of(
        &self,
        user: UserId,
        attempt: &LoginTry,
        code: Option<&Secret>,
    ) -> Result<Option<Second>> {
        let Some(factor) = self.store().factor(user).await?.filter(|factor| factor.confirmed) else { return Ok(None) };
        let Some(code) = code else {
            self.store().take_back_try(attempt).await?;
            return Err(AccountError::SecondFactor);
        };
        self.shown(user, &factor, code).await?.map(Some).ok_or(AccountError::WrongCode)
    }

    /// The secret of a user's second factor, confirmed or not, as their telephone has it. `None` when there is none.
    ///
    /// # Errors
    ///
    /// Store errors, and when it cannot be opened.
    pub async fn factor_secret(&self, user: UserId) -> Result<Option<Vec<u8>>> {
        let factor = self.store().factor(user).await?;
        factor.map(|factor| open(&self.settings.key_file, user.0, &factor.secret)).transpose()
    }

    /// What a text shows of a factor: a code of now, or what may be a recovery code.
    async fn shown(&self, user: UserId, factor: &Factor, text: &Secret) -> Result<Option<Second>> {
        let Some(code) = totp::as_code(text.expose()) else {
            return Ok(Some(Second::Recovery(plain_recovery(text.expose()).hash())));
        };
        let now = u64::try_from(self.store().now().await?.timestamp()).unwrap_or(0);
        let secret = open(&self.settings.key_file, user.0, &factor.secret)?;
        Ok(totp::step_of(&secret, &code, now, factor.last_step).map(Second::Step))
    }

    /// Compares the password of a person who has logged in, within the limits of logins. The caller takes the try back.
    pub(super) async fn prove(&self, order: &Order, proof: &Proof) -> Result<(EmailAddress, LoginTry)> {
        let missing = || StoreError::NotFound("there is no such user".to_owned());
        let user = self.store().user(proof.user).await?.ok_or_else(missing)?;
        let email: EmailAddress = user.email.parse()?;
        let attempt = attempt(email.clone(), &proof.address);
        self.begin(order, &attempt).await?;
        let hash = self.store().password_of(proof.user).await?;
        if !self.passwords.compare(&proof.password, hash.as_deref()).await?.matches {
            return Err(AccountError::WrongPassword);
        }
        Ok((email, attempt))
    }

    /// Counts a try.
    pub(super) async fn begin(&self, order: &Order, attempt: &LoginTry) -> Result<Option<(UserId, String)>> {
        match self.at(order, Action::SessionRefuse, &attempt.address).begin_login(attempt).await? {
            LoginStart::Compare(found) => Ok(found),
            LoginStart::Wait { until, now } => Err(AccountError::wait(until, now)),
        }
    }
}

/// A try of a person who has logged in.
fn attempt(email: EmailAddress, address: &str) -> LoginTry {
    LoginTry { email: Some(email), address: address.to_owned(), per_account: PER_ACCOUNT, per_address: PER_ADDRESS }
}

/// What the store does not take was used already, or is no recovery code.
pub(super) fn spent(error: AccountError) -> AccountError {
    match error {
        AccountError::Store(StoreError::Denied(_)) => AccountError::WrongCode,
        other => other,
    }
}

fn drawn<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let failed = |_| AccountError::Internal("the system gives no random numbers".into());
    SystemRandom::new().fill(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// `k3jd-9…`: sixteen letters and digits in four groups.
fn recovery_code() -> Result<Secret> {
    let text = totp::base32(&drawn::<RECOVERY_BYTES>()?).to_lowercase();
    Ok(plain_recovery(&text))
}

/// A recovery code as it is hashed, however it was typed: in small letters, in groups of four.
fn plain_recovery(typed: &str) -> Secret {
    let letters: Vec<char> = typed.chars().filter(char::is_ascii_alphanumeric).collect();
    let groups: Vec<String> = letters.chunks(4).map(|group| group.iter().collect()).collect();
    Secret::new(groups.join("-").to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_code_has_eighty_bits_and_is_known_however_it_is_typed() {
        let (one, other) = (recovery_code().expect("drawn"), recovery_code().expect("drawn"));
        assert!(one != other && one.expose().len() == 19, "{}", one.expose());
        let typed = format!(" {} ", one.expose().replace('-', " ").to_uppercase());
        assert_eq!(plain_recovery(&typed), one);
        assert_ne!(plain_recovery(&one.expose()[1..]), one);
        assert_eq!(totp::as_code(one.expose()), None, "it is never taken for a code");
    }
}
