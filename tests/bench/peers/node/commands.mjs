/** What the Node.js programs under measurement share: they are asked line by line, and do what they are asked. */

import { createInterface } from 'node:readline'

/** Answers each line of standard input with one line, until it ends. The first word of an answer is `ok`. */
export async function answer(commands) {
  for await (const line of createInterface({ input: process.stdin })) {
    const [name, ...words] = line.split(' ')
    const result = await commands[name](...words)
    process.stdout.write(`ok ${result ?? ''}\n`)
  }
}
