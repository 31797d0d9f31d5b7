// The project with the web servers in which the routes of a node are mounted.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { symlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'

import { PACKAGE } from './support.js'

const PROJECT = join(__dirname, 'servers')

/** Lets the project find this package by its name, as if it were installed there, and returns the project's directory. */
export function linkServers(): string {
  try {
    symlinkSync(PACKAGE, join(PROJECT, 'node_modules', 'posemesh-node'))
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'EEXIST')
  }
  return PROJECT
}

/** A port of loopback that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  await new Promise((closed) => server.close(closed))
  return port
}
