//! Small values that several nodes change: JSON, so that an operator can read them, and changed by
//! compare-and-set.

use super::log::Shelf;
use crate::error::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How often a change is tried that others make at the same time.
const ATTEMPTS: usize = 20;

/// The value of a key, with its revision: the default and 0 where there is none.
pub(super) async fn load<T: DeserializeOwned + Default>(
    shelf: &impl Shelf,
    key: &str,
) -> Result<(T, u64)> {
    let Some(value) = shelf.get(key).await? else {
        return Ok((T::default(), 0));
    };
    let parsed = serde_json::from_slice(&value.bytes)
        .map_err(|source| Error::corrupt(format!("the value of {key:?} does not parse: {source}")));
    Ok((parsed?, value.revision))
}

/// Changes a value, again and again until nobody else did meanwhile. `change` says what is wrong
/// with what it finds, if anything; its answer is that of the change that was written.
pub(super) async fn change<T, R>(
    shelf: &impl Shelf,
    key: &str,
    change: impl Fn(&mut T) -> Result<R> + Send,
) -> Result<(T, R)>
where
    T: Serialize + DeserializeOwned + Default + Clone + PartialEq + Send,
    R: Send,
{
    for _ in 0..ATTEMPTS {
        let (mut value, revision): (T, u64) = load(shelf, key).await?;
        let before = value.clone();
        let answer = change(&mut value)?;
        if value == before {
            return Ok((value, answer));
        }
        let bytes = serde_json::to_vec_pretty(&value).expect("text, lists and maps have a form");
        if shelf.set(key, bytes.into(), revision).await?.is_some() {
            return Ok((value, answer));
        }
    }
    let message = format!("others change the value of {key:?} all the time; try again");
    Err(Error::new(ErrorKind::Unavailable, message))
}
