// What the programs in the README take as given.
import process from 'node:process'

import { PosemeshNode } from 'posemesh-node'

export const node = await PosemeshNode.fromEnv({ nodeVersion: '1.0.0' })
export const host = '127.0.0.1'
export const port = Number(process.env.PORT)
