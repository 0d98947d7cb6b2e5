// authpolicy: the functions that Exim calls with ${dlfunc}. cbindgen makes this file from src/ffi.rs. Do not
// edit it, but run `make header`.
//
// Every function has Exim's type exim_dlfunc_t. It gets `argc` NUL-terminated strings in `argv`, at most 7.
// It sets `*answer` on every return, and returns one of these:
//
//   0 (OK)           `*answer` is the value of the expansion
//   2 (FAIL)         the expansion fails: an authenticator replies 435, and `*answer` goes to the log only
//   4 (FAIL_FORCED)  from `secret` only: the authenticator replies 535
//
// `*answer` points to text that lives as long as the process, or, from `preload`, to the argument: do not
// free it. Arguments are neither changed nor used after the return. A NULL or missing argument is an error of
// the caller, with the same result as any other invalid call.
//
// The functions start no thread and no child process, and set no signal handler. They leave file descriptors
// 0 to 2, the umask, the working directory and the locale unchanged. They open the files named in the
// configuration, and connections to its databases, which are closed at the end of the call. A panic is
// caught: a function that can fail then returns FAIL.

#ifndef AUTHPOLICY_H
#define AUTHPOLICY_H

// `check`: authcid, password, remote, then up to four name=value. `yes` or `no`, or a failure
// when we cannot tell. Ends the attempt: one row, one log line.
//
// # Safety
// `answer` is valid for writing, `argv` holds `argc` NUL-terminated strings.
int check(unsigned char **answer, int argc, unsigned char **argv);

// `allow`: remote. `no` where rules refuse the address for accounts without rules of their own,
// else `yes`. Remembered for this address and configuration until the connection ends. No row, no
// log line. Never fails.
//
// # Safety
// As for `check`.
int allow(unsigned char **answer, int argc, unsigned char **argv);

// `authorize`: authcid, remote, then up to four name=value; the password was proved to somebody
// else. `yes` or `no`, or a failure when we cannot tell. One row, one log line.
//
// # Safety
// As for `check`.
int authorize(unsigned char **answer, int argc, unsigned char **argv);

// `finish`: authcid, remote, then up to four name=value. The canonical username, or the authcid.
// Ends the attempt: unless `authorize` decided it, one row and one log line of a wrong password.
// Never fails.
//
// # Safety
// As for `check`.
int finish(unsigned char **answer, int argc, unsigned char **argv);

// `secret`: authcid, remote, then up to four name=value. The account's password, where it is
// stored in clear; a forced failure where there is none, or a failure when we cannot tell.
//
// # Safety
// As for `check`.
int secret(unsigned char **answer, int argc, unsigned char **argv);

// `scram`: a field (salt, iter, stored_key, server_key), authcid, remote, then up to four
// name=value. That field of the account's SCRAM keys; of keys that nobody has where there is no
// account or a rule refuses; empty keys where we cannot tell. Never fails.
//
// # Safety
// As for `check`.
int scram(unsigned char **answer, int argc, unsigned char **argv);

// `country`: remote. Its ISO 3166-1 code, or empty. Never fails.
//
// # Safety
// As for `check`.
int country(unsigned char **answer, int argc, unsigned char **argv);

// `last`: a field (status, reason, rule, country, asn, username, auth_ok, policy_reject). That fact
// of the latest verdict, or empty. Never fails.
//
// # Safety
// As for `check`.
int last(unsigned char **answer, int argc, unsigned char **argv);

// `preload`: value, then `config=`. The value, unchanged. Reads the configuration and the GeoIP
// files, for the processes that are forked from this one. Never fails.
//
// # Safety
// As for `check`.
int preload(unsigned char **answer, int argc, unsigned char **argv);

// `version`: no argument. `authpolicy` and the version. Never fails.
//
// # Safety
// As for `check`.
int version(unsigned char **answer, int argc, unsigned char **argv);

#endif  /* AUTHPOLICY_H */
