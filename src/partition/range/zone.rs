//! Which time zone a set is given: one of a name, or the fixed offset that the caller's session has.

use super::policy::Invalid;
use crate::error::Result;
use crate::pg::time_zone::ServerZone;
use crate::pg::{clock, query};

const ARGUMENT: &str = "time_zone";
const HINT: &str = "Use a name of pg_timezone_names, for example time_zone => 'Europe/Madrid'.";

/// The zone that was named; without a name the session's own. Errors: none that the server knows, a POSIX
/// specification, one whose offsets the server cannot read back (22023).
pub(super) fn chosen(given: Option<&str>, invalid: &Invalid<'_>) -> Result<String> {
    let own: String =
        query::one("SELECT pg_catalog.current_setting('TimeZone')", &[], |row| row.required(1))?;
    let name = given.unwrap_or(&own);
    let zone = ServerZone::named(name)?;
    // A session's is taken as it is: drivers set `<+05:30>-05:30`.
    if name != own && zone.is_specification()? {
        let problem = format!(
            "\"{name}\" is a POSIX specification, which counts offsets the other way round"
        );
        return Err(invalid(ARGUMENT, problem, HINT));
    }
    if !zone.can_be_read_back(clock::now()) {
        let problem =
            format!("\"{name}\" is further from UTC than 15:59:59, where no bound is read back");
        return Err(invalid(ARGUMENT, problem, HINT));
    }
    Ok(name.to_owned())
}
