// The program that each bundler bundles.
import { scenario } from './scenario.mjs'

scenario().then((state) => console.log(state))
