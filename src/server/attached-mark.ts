/** Marks a server that something of this library is attached to. Registered, so that two copies of it know each other. */
export const ATTACHED = Symbol.for('tls-resumption.attached');
