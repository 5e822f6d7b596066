/** What `--help` says. */

export const HELP = `Usage: tls-resumption COMMAND [options]

  probe HOST[:PORT]   how clients come back to a server: by session ID, 32-byte (stateful)
                      ticket or ticket that holds the session; over TLS 1.2 and 1.3
  inspect FILE        what is in a session of OpenSSL (PEM or DER; "-" is standard input)
                      or, with its key, in a ticket (bytes, hexadecimal or base64)
  keys VERB           generate, convert or check files of ticket keys

probe
  --servername NAME   the name to ask for (default: HOST, unless it is an address)
  --other-name NAME   a name to come back under with a session of the first: a site that
                      should not resume it (default: one that is nobody's)
  --address ADDRESS   go there instead of where the name leads; the second and later ones
                      are asked whether they resume sessions of the first. Repeatable
  --returns N         come back so often in each way (default: 3)
  --watch SECONDS     then watch for new ticket keys, a look --every SECONDS
  --alpn LIST         application protocols to offer: h2,http/1.1
  --cert FILE --key FILE
                      a client certificate and its key, in PEM
  --timeout SECONDS   for each connection (default: 10)
  --patience SECONDS  to wait for tickets after a handshake (default: 0.2)

inspect
  --keys FILE --format FORMAT
                      open the ticket with the keys of this file
  --show-secrets      the master secret or resumption secret too

keys generate --format FORMAT --out FILE [--bits 128|256] [--count N]
keys convert FILE... --from FORMAT --to FORMAT --out FILE [--key N]
keys check FILE... --format FORMAT
                      FORMAT is node, nginx, haproxy, apache or ats. Files are written for
                      their owner alone, and only with --force over another. --key N takes
                      one of several keys; the first is the one that seals

  --json              print JSON
  --help, --version

Exit status: 0 good; 1 a warning was found, a key file is bad, or the ticket does not open;
2 wrong arguments; 3 it could not be done (no connection, no TLS, no such file).
NO_COLOR=1 leaves out colours.
`;
