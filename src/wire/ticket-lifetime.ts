/** Seconds that a ticket, and with it a session, may be used for at most: seven days (RFC 8446 §4.6.1). */
export const MAX_TICKET_LIFETIME = 604_800;
