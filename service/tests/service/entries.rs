//! What leaves no entry, or not one for each try; and in whose chain an entry is.

use gristmill_core::access::Role;
use gristmill_core::audit::Action;
use gristmill_core::id::{DEFAULT_TENANT, INSTALLATION_TENANT};
use gristmill_service::Order;
use gristmill_service::accounts::{AccountError, Login, Secret};
use gristmill_store::StoreError;
use gristmill_store::accounts::{Appointer, Quotas, WhichSessions};

use crate::env::{databases, order};
use crate::people::{OTHER, PASSWORD, accounts, add, address, chain, entries, leaves, login};

#[tokio::test]
async fn a_flood_of_tries_leaves_one_entry_for_each_limit_that_it_reaches() {
    for env in databases().await {
        let accounts = accounts(&env);
        add(&accounts, &order(), "ada", Some(Role::Owner)).await;
        let one = entries(&env).await;
        let flood = async |name: &str, network: &str, tries: u32| {
            for _ in 0..tries {
                accounts.log_in(&order(), &login(name, OTHER, network)).await.expect_err("refused");
            }
        };
        for network in 0..6 {
            flood("ada", &format!("192.0.2.{network}"), 10).await;
        }
        assert_eq!(entries(&env).await, one + 1, "one account, six networks");
        for name in 0..70 {
            flood(&format!("nobody{name}"), "198.51.100.7", 1).await;
        }
        assert_eq!(entries(&env).await, one + 2, "one network, seventy accounts");
        let refused = chain(&env, INSTALLATION_TENANT).await.remove(0).entry;
        assert_eq!(refused.target, "network 198.51.100.7");
        assert!(!refused.details.contains("nobody"), "what is typed is not written down: {}", refused.details);
        env.home.tamper("UPDATE access_try SET until = (SELECT min(created_at) FROM access_user)").await;
        flood("ada", "192.0.2.1", 40).await;
        assert_eq!(entries(&env).await, one + 3, "the time is over, and begins anew");
        let typed = Login { account: PASSWORD.to_owned(), ..login("x", OTHER, "203.0.113.9") };
        for _ in 0..60 {
            accounts.log_in(&order(), &typed).await.expect_err("refused");
        }
        let last = chain(&env, INSTALLATION_TENANT).await.remove(0);
        assert!(!format!("{last:?}").contains(PASSWORD), "a password that was typed as an address");
    }
}

#[tokio::test]
async fn what_is_refused_or_changes_nothing_leaves_no_entry() {
    for env in databases().await {
        let accounts = accounts(&env);
        let ada = add(&accounts, &order(), "ada", Some(Role::Owner)).await;
        let bob = add(&accounts, &order(), "bob", Some(Role::Viewer)).await;
        let before = entries(&env).await;
        let by = Appointer::User(bob);
        accounts.set_role(&order(), by, bob, Role::Owner).await.expect_err("nobody raises themselves");
        accounts.remove_member(&order(), Appointer::Installation, ada).await.expect_err("the last owner");
        accounts.set_role(&order(), Appointer::Installation, bob, Role::Viewer).await.expect("as it is");
        accounts.switch_user(&order(), bob, true).await.expect("as it is");
        accounts.rename_user(&order(), bob, "bob").await.expect("as it is");
        accounts.resume_tenant(&order(), DEFAULT_TENANT).await.expect("as it is");
        let wrong = Secret::new(OTHER);
        let refused = accounts.change_password(&order(), bob, &wrong, &wrong, None).await;
        assert!(matches!(refused, Err(AccountError::WrongPassword)));
        accounts.send_reset(&order(), &address("nobody")).await.expect("the same answer");
        let link = Secret::new("gml_nothing");
        accounts.reset_password(&order(), &link, &wrong).await.expect_err("it does nothing");
        assert_eq!(accounts.end_sessions(&order(), bob, WhichSessions::AllBut(None)).await.expect("asked"), 0);
        let again = accounts.create_tenant(&order(), DEFAULT_TENANT, Quotas::default(), None).await;
        assert!(matches!(again, Err(AccountError::Store(StoreError::Conflict(_)))));
        let rehearsed = accounts.switch_user(&order().rehearsed(true), bob, false).await;
        rehearsed.expect_err("accounts have no rehearsal");
        assert_eq!(entries(&env).await, before, "{}", env.home.url());
    }
}

#[tokio::test]
async fn a_tenant_that_is_joined_later_does_not_draw_the_logins_of_a_user_to_it() {
    for env in databases().await {
        let accounts = accounts(&env);
        let ada = add(&accounts, &order(), "ada", Some(Role::Owner)).await;
        let eve = add(&accounts, &order(), "eve", Some(Role::Admin)).await;
        accounts.create_tenant(&order(), "aaa", Quotas::default(), Some(eve)).await.expect("created");
        let aaa = Order { tenant: "aaa".to_owned(), ..order() };
        accounts.set_role(&aaa, Appointer::Installation, ada, Role::Viewer).await.expect("a member there");
        leaves(&env, (DEFAULT_TENANT, Action::SessionOpen, "ada@example.com"), async {
            accounts.log_in(&order(), &login("ada", PASSWORD, "192.0.2.1")).await.expect("logged in");
        })
        .await;
    }
}
