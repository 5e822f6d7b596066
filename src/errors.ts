/**
 * The errors of the library, each with a stable code.
 *
 * Wrong arguments are `TypeError` (wrong type) and `RangeError` (right type, wrong value) instead.
 *
 * @module
 */

/** Every code that a {@link ResumptionError} can carry. */
export type ResumptionErrorCode =
  | 'ERR_ALREADY_ATTACHED'
  | 'ERR_LISTENER_CONFLICT'
  | 'ERR_NEEDS_NEW_SERVER'
  | 'ERR_NOT_ATTACHED'
  | 'ERR_NOT_SECURED'
  | 'ERR_UNSUPPORTED_SERVER'
  | 'ERR_TICKETS_UNSAFE'
  | 'ERR_CLIENT_HELLO_TIMEOUT'
  | 'ERR_SOCKET_CLOSED'
  | 'ERR_STORE_CORRUPT'
  | 'ERR_STORE_TIMEOUT'
  | 'ERR_STORE_UNAVAILABLE'
  | 'ERR_SHARED_STATE_FULL'
  | 'ERR_TICKET_KEYS_FORMAT'
  | 'ERR_KEY_FILE'
  | 'ERR_KEY_OVERUSED'
  | 'ERR_KEY_RING_DISPOSED'
  | 'ERR_KEY_SOURCE'
  | 'ERR_KEYS_SHARED';

/** An error of the library. Neither its message nor its properties hold keys, session bytes or session IDs. */
export class ResumptionError extends Error {
  /** `ResumptionError`. */
  override readonly name = 'ResumptionError';

  constructor(
    /** Stable: safe to compare with. */
    readonly code: ResumptionErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
