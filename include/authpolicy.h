// authpolicy: the functions that Exim calls with ${dlfunc}.
//
// cbindgen generates this file from src/ffi.rs. Do not edit it; run `make header`.
//
// Every function has Exim's type exim_dlfunc_t.
//
// Arguments
//
// - `argv` has `argc` NUL-terminated strings, at most 7. They are not changed, and not used after the return.
// - Positional arguments come first. Named ones (`name=value`) follow in any order, each at most once:
//   `config=`, `protocol=`, `mechanism=`, `tls=`, `helo=`, `authzid=`.
// - authcid is the name that the client gave, remote is $sender_host_address. docs/reference.md describes each
//   argument.
// - A NULL, missing or unknown argument is an error in the call. Functions that can fail then return FAIL,
//   the others OK.
//
// Return value
//
//   0 (OK)           `*answer` is the value of the expansion.
//   2 (FAIL)         The expansion fails: an authenticator replies 435. `*answer` goes to Exim's log only.
//   4 (FAIL_FORCED)  Only from `secret`: the authenticator replies 535.
//
// Answer
//
// - `*answer` is set on every return, unless `answer` is NULL.
// - It points to text that is valid until the process ends: do not free or change it. `preload` points to its
//   first argument instead.
//
// Effects on the process
//
// - No function starts a thread or a child process.
// - File descriptors 0 to 2, the umask, the working directory and the locale stay unchanged.
// - SIGXFSZ and SIGPIPE are blocked during a call. A lookup in a GeoIP file that is not preloaded has its own
//   handler of SIGBUS. Both are restored before the return.
// - The functions open the files named in the configuration, and connections to its databases. The connections
//   are closed at the end of the call.
// - A panic is caught. Functions that can fail then return FAIL; the others return OK and an empty answer, but
//   `allow` answers `yes` and `preload` its first argument.

#ifndef AUTHPOLICY_H
#define AUTHPOLICY_H

// Decides an attempt whose password the client has sent (PLAIN, LOGIN).
//
// - Arguments: authcid, password, remote, up to four named ones.
// - Answer: `yes` or `no`; FAIL if the plugin cannot tell.
// - Writes one row and one log line.
//
// # Safety
// `answer` is NULL or valid for writing. `argv` holds `argc` NUL-terminated strings.
int check(unsigned char **answer, int argc, unsigned char **argv);

// Decides what depends on the client's address alone, before the client gives a name.
//
// - Arguments: remote, `config=`, `protocol=`.
// - Answer: `no` if a rule refuses the address for accounts without their own rules, else `yes`.
//   Never fails; if the plugin cannot tell, the answer is `yes`, and the AUTH that follows gets
//   435.
// - Remembers the decision for this address and configuration until the connection ends.
// - Writes no row, and no log line unless there is an error in the call.
//
// # Safety
// As for `check`.
int allow(unsigned char **answer, int argc, unsigned char **argv);

// Decides an attempt whose password another program has proved.
//
// - Arguments: authcid, remote, up to four named ones.
// - Answer: `yes` or `no`; FAIL if the plugin cannot tell.
// - Writes one row and one log line.
//
// # Safety
// As for `check`.
int authorize(unsigned char **answer, int argc, unsigned char **argv);

// Ends an attempt of a driver that uses `authorize`.
//
// - Arguments: authcid, remote, up to four named ones.
// - Answer: the account's canonical name, or the authcid. Empty if there was no attempt. Never
//   fails.
// - If `authorize` was not called, the proof was wrong: writes one row and one log line.
//
// # Safety
// As for `check`.
int finish(unsigned char **answer, int argc, unsigned char **argv);

// Returns the password of an account, for a driver that checks the client's proof itself.
//
// - Arguments: authcid, remote, up to four named ones.
// - Answer: the password, if the account has exactly one, stored in clear. FAIL_FORCED if it does
//   not, if there is no such account, or if a limit refuses the attempt. FAIL if the plugin cannot
//   tell.
// - Writes no row: `authorize` or `finish` does.
//
// # Safety
// As for `check`.
int secret(unsigned char **answer, int argc, unsigned char **argv);

// Returns one of the account's SCRAM keys, for a driver that checks the client's proof itself.
//
// - Arguments: a field (`salt`, `iter`, `stored_key` or `server_key`), authcid, remote, up to four
//   named ones.
// - Answer: the field. Fake keys, which no password matches, if there is no account or a rule
//   refuses the attempt. Empty if the plugin cannot tell. Never fails.
// - Writes no row: `authorize` or `finish` does.
//
// # Safety
// As for `check`.
int scram(unsigned char **answer, int argc, unsigned char **argv);

// Returns the country of an address.
//
// - Arguments: remote, `config=`.
// - Answer: the ISO 3166-1 alpha-2 code, or empty if the country is unknown. Never fails.
//
// # Safety
// As for `check`.
int country(unsigned char **answer, int argc, unsigned char **argv);

// Returns one fact of the latest attempt in this SMTP connection.
//
// - Argument: a field (`status`, `reason`, `rule`, `country`, `asn`, `username`, `auth_ok` or
//   `policy_reject`).
// - Answer: the fact, or empty if there is none. Never fails.
//
// # Safety
// As for `check`.
int last(unsigned char **answer, int argc, unsigned char **argv);

// Reads the configuration and the GeoIP files in Exim's daemon, for all processes that it forks.
//
// - Arguments: a value, which may be empty, and `config=`.
// - Answer: the value, unchanged. Never fails.
// - Connects to no database.
//
// # Safety
// As for `check`.
int preload(unsigned char **answer, int argc, unsigned char **argv);

// Returns the name and the version of the plugin.
//
// - Arguments: none.
// - Answer: `authpolicy` and the version. Never fails.
//
// # Safety
// As for `check`.
int version(unsigned char **answer, int argc, unsigned char **argv);

#endif  /* AUTHPOLICY_H */
