import { type Ended, Program } from '../examples/processes.js';

/** Runs the text of a module, which imports TypeScript from the root of the tree, to its end. */
export function runModule(text: string): Promise<Ended> {
  return new Program(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', text]).ended;
}
